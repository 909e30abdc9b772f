//! The definitions of the custom resources as text.

use callmeter_api::crds;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// The definitions, or the one with this plural name, as YAML documents.
pub fn print(name: Option<&str>) -> anyhow::Result<String> {
    let wanted: Vec<_> = crds()
        .into_iter()
        .filter(|crd| name.is_none_or(|name| crd.spec.names.plural == name))
        .collect();
    anyhow::ensure!(
        !wanted.is_empty(),
        "no custom resource `{}`; accepted: {}",
        name.unwrap_or_default(),
        crds().map(|crd| crd.spec.names.plural).join(", ")
    );
    let documents = wanted.iter().map(document).collect::<Result<Vec<_>, _>>()?;
    Ok(documents.join("---\n"))
}

fn document(crd: &CustomResourceDefinition) -> anyhow::Result<String> {
    Ok(serde_yaml::to_string(crd)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `make generate` writes them anew.
    #[test]
    fn the_checked_in_definitions_are_the_generated_ones() {
        for crd in crds() {
            let path = format!(
                "{}/../crds/{}.yaml",
                env!("CARGO_MANIFEST_DIR"),
                crd.spec.names.plural
            );
            let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                checked_in == document(&crd).unwrap(),
                "{path} differs from `callmeter-operator crd {}`",
                crd.spec.names.plural
            );
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let refusal = print(Some("pods")).unwrap_err().to_string();
        assert!(
            refusal.contains("`pods`") && refusal.contains("workerpools"),
            "{refusal}"
        );
    }
}
