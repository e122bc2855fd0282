//! One file per command.

pub(crate) mod compare;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod estimators;
pub(crate) mod evaluate;
pub(crate) mod explore;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod latents;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod reconstruct;
pub(crate) mod sample;
pub(crate) mod settings;
pub(crate) mod show;
pub(crate) mod sweep;
pub(crate) mod temperature;
pub(crate) mod train;
pub(crate) mod tune;
