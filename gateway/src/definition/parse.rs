//! From text to [`CallTestSpec`], with the path of whatever is wrong.

use callmeter_api::calltest::CallTestSpec;
use serde::de::{DeserializeOwned, DeserializeSeed as _};
use serde_json::Value;

use super::inline::InlineAccounts;
use super::plain::Plain;
use super::strict::Strict;
use super::{InvalidDefinition, Problem, ValidatedTest};

/// How a definition is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2, one document.
    Yaml,
    /// JSON.
    Json,
}

/// Reads a definition, `spec` of a `CallTest` or the same without a resource around it.
///
/// Pools without a namespace and Secrets are of `namespace`; an empty one means there is none, and
/// both are refused.
pub fn parse(
    text: &str,
    format: Format,
    namespace: &str,
) -> Result<(ValidatedTest, InlineAccounts, CallTestSpec), InvalidDefinition> {
    let Document {
        definition: value,
        name: _,
    } = read(text, format)?;
    super::material::refuse(&value)?;
    let (value, inline) = InlineAccounts::take(value)?;
    let spec: CallTestSpec = typed(value, "")?;
    let test = super::validate(&spec, &inline, namespace)?;
    let groups = 0..test.groups.len();
    let given: Vec<_> = groups
        .map(|group| inline.of(group).unwrap_or_default().to_vec())
        .collect();
    super::overlaps(&test, &given)
        .map_err(|shared| InvalidDefinition::one("groups", shared.to_string()))?;
    Ok((test, inline, spec))
}

/// A definition as plain values.
#[derive(Clone, PartialEq)]
pub struct Document {
    /// The definition; may hold passwords.
    pub definition: Value,
    /// Name of the `CallTest` around it.
    pub name: Option<String>,
}

/// Reads text into plain values; a whole `CallTest` is reduced to its `spec`.
pub fn read(text: &str, format: Format) -> Result<Document, InvalidDefinition> {
    let value = match format {
        Format::Yaml => Plain
            .deserialize(serde_yaml::Deserializer::from_str(text))
            .map_err(|e| format!("is no YAML: {}", hide_values(&e.to_string()))),
        Format::Json => plain_json(text.as_bytes()),
    };
    let value = value.map_err(|message| InvalidDefinition::one("", message))?;
    let Value::Object(mut fields) = value else {
        return Err(InvalidDefinition::one(
            "",
            "accepted: a map with duration, groups and expect",
        ));
    };
    if fields.get("kind").is_none_or(|kind| kind != "CallTest") {
        return Ok(Document {
            definition: Value::Object(fields),
            name: None,
        });
    }
    let name = fields
        .get("metadata")
        .and_then(|m| m.get("name"))
        .and_then(Value::as_str);
    let name = name.map(str::to_owned);
    let missing = || InvalidDefinition::one("spec", "is missing; accepted: a test definition");
    Ok(Document {
        definition: fields.remove("spec").ok_or_else(missing)?,
        name,
    })
}

/// Plain values of JSON; the error is what the text is.
pub(crate) fn plain_json(text: &[u8]) -> Result<Value, String> {
    let mut source = serde_json::Deserializer::from_slice(text);
    let value = Plain.deserialize(&mut source).and_then(|value| {
        source.end()?;
        Ok(value)
    });
    value.map_err(|e| {
        let (line, column) = (e.line(), e.column());
        match e.classify() {
            // A message of our own: it names a field, never a value.
            serde_json::error::Category::Data => format!("is not accepted: {e}"),
            _ => format!("is no JSON at line {line}, column {column}"),
        }
    })
}

/// A typed value of plain ones; unknown fields and wrong types are refused by path.
pub(crate) fn typed<T: DeserializeOwned>(
    value: Value,
    prefix: &str,
) -> Result<T, InvalidDefinition> {
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let located = serde_path_to_error::Deserializer::new(Strict(value), &mut track);
    let result = serde_ignored::deserialize(located, |path| unknown.push(path_text(&path)));
    let join = |path: String| match (prefix, path.as_str()) {
        ("", _) => path,
        (prefix, "" | ".") => prefix.to_owned(),
        (prefix, path) => format!("{prefix}.{path}"),
    };
    let parsed = result.map_err(|error| {
        let path = track.path().to_string();
        InvalidDefinition::one(
            join(if path == "." { String::new() } else { path }),
            error.to_string(),
        )
    })?;
    if unknown.is_empty() {
        return Ok(parsed);
    }
    let problem = |path: String| Problem {
        field: join(path),
        message: "is no known field".to_owned(),
    };
    Err(InvalidDefinition(
        unknown.into_iter().map(problem).collect(),
    ))
}

/// `groups[1].call` instead of `groups.1.call`, the way errors of types name a field.
fn path_text(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", path_text(parent)),
        Path::Map { parent, key } => match path_text(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => path_text(parent),
    }
}

/// YAML errors tell where; what is quoted could be a password, with quotes of its own, and is left
/// out.
fn hide_values(message: &str) -> String {
    let quotes = ['"', '`'];
    match (message.find(quotes), message.rfind(quotes)) {
        (Some(first), Some(last)) => format!("{}…{}", &message[..=first], &message[last..]),
        _ => message.to_owned(),
    }
}
