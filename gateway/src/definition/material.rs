//! Certificates and keys stand in no definition: they are refused before anything else reads it, so
//! that no error can show them.

use serde_json::Value;

use super::{InvalidDefinition, Problem};

/// What stands in `registrar.tls` besides how the server is checked.
const REFERENCES: [&str; 3] = ["caRef", "clientCertRef", "serverCertRef"];

/// Refuses PEM text and what stands in place of a reference in `registrar.tls`; the errors hold
/// nothing of the value.
pub(super) fn refuse(definition: &Value) -> Result<(), InvalidDefinition> {
    let mut problems = Vec::new();
    let groups = definition.get("groups").and_then(Value::as_array);
    for (index, group) in groups.into_iter().flatten().enumerate() {
        let Some(tls) = group.get("registrar").and_then(|r| r.get("tls")) else {
            continue;
        };
        let at = format!("groups[{index}].registrar.tls");
        if holds_pem(tls) {
            let message = "holds a certificate or key; accepted: caRef, clientCertRef and \
                           serverCertRef with the name of a Secret of the test's namespace";
            problems.push(Problem {
                field: at,
                message: message.to_owned(),
            });
            continue;
        }
        for field in REFERENCES {
            if tls
                .get(field)
                .is_some_and(|v| !v.is_object() && !v.is_null())
            {
                problems.push(Problem {
                    field: format!("{at}.{field}"),
                    message: "accepted: a map with the name of a Secret".to_owned(),
                });
            }
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(InvalidDefinition(problems))
}

fn holds_pem(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("-----BEGIN"),
        Value::Array(items) => items.iter().any(holds_pem),
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| name.contains("-----BEGIN") || holds_pem(value)),
        _ => false,
    }
}
