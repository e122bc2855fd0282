//! The section `[estimator]`: its name, and the parameters that are not the default. `estimator = "gumbel-rao:draws=100"`
//! is read too.

use std::fmt::Write;

use gumbel_core::estimators::Estimator;
use serde::de::Error;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serializer};
use toml::{Table, Value};

pub(crate) fn serialize<S: Serializer>(
    estimator: &Estimator,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let text = estimator.to_string();
    let (name, parameters) = text.split_once(':').unwrap_or((&text, ""));
    let mut table = serializer.serialize_map(None)?;
    table.serialize_entry("name", name)?;
    for (parameter, value) in parameters.split(',').filter_map(|p| p.split_once('=')) {
        let real = |_| value.parse().map(Value::Float);
        let value = value.parse().map(Value::Integer).or_else(real);
        table.serialize_entry(
            &parameter.replace('-', "_"),
            &value.map_err(serde::ser::Error::custom)?,
        )?;
    }
    table.end()
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Estimator, D::Error> {
    let text = match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Table(mut table) => match table.remove("name") {
            Some(Value::String(name)) => with_parameters(name, &table),
            _ => return Err(D::Error::missing_field("name")),
        },
        other => return Err(D::Error::custom(format!("no estimator: {other}"))),
    };
    text.parse().map_err(D::Error::custom)
}

fn with_parameters(mut text: String, parameters: &Table) -> String {
    for (i, (name, value)) in parameters.iter().enumerate() {
        let separator = if i == 0 { ':' } else { ',' };
        // Writing to a string does not fail.
        let _ = write!(text, "{separator}{}={value}", name.replace('_', "-"));
    }
    text
}
