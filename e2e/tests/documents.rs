//! What ARCHITECTURE.md says of files and functions is true: each file it names is there, and each
//! "`function` in `file`" finds its function.

use std::path::Path;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn is_source(word: &str) -> bool {
    Path::new(word).extension().is_some_and(|end| end == "rs")
}

/// Each word in backquotes, after the text that stands before it.
fn quoted(text: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = text.split('`').collect();
    parts
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect()
}

#[test]
fn every_file_it_names_is_there() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut files = 0;
    for (_, word) in quoted(&text) {
        if word.contains('/') && is_source(word) && !word.contains('{') {
            assert!(root().join(word).is_file(), "{word} is not there");
            files += 1;
        }
    }
    assert!(files > 30, "{files} files found in ARCHITECTURE.md");
}

#[test]
fn every_function_is_in_its_file() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let words = quoted(&text);
    let mut functions = 0;
    for pair in words.windows(2) {
        let ((_, name), (between, file)) = (pair[0], pair[1]);
        if between.split_whitespace().collect::<Vec<_>>() != ["in"] || !is_source(file) {
            continue;
        }
        let source = std::fs::read_to_string(root().join(file)).unwrap();
        let name = name.rsplit("::").next().unwrap();
        assert!(
            source.contains(&format!("fn {name}(")) || source.contains(&format!("fn {name}<")),
            "no function {name} in {file}"
        );
        functions += 1;
    }
    assert!(
        functions >= 15,
        "{functions} functions found in ARCHITECTURE.md"
    );
}
