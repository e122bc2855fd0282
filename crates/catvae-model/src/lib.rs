//! The categorical variational autoencoder: configuration, encoder, decoder and loss on candle tensors.
