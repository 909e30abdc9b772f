//! The examples of the documentation, as its readers copy them.

use std::path::Path;

use anyhow::{Context, Result};

/// The text of the first YAML block after `heading` in a file of the repository that holds
/// `mark`, without its fence.
pub(crate) fn example(file: &str, heading: &str, mark: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    find(&text, heading, mark)
        .map(str::to_owned)
        .with_context(|| format!("{file}: no YAML with {mark:?} after {heading:?}"))
}

fn find<'a>(text: &'a str, heading: &str, mark: &str) -> Option<&'a str> {
    let at = text.find(&format!("\n{heading}\n"))?;
    let section = &text[at + 1 + heading.len()..];
    let mut blocks = section.split("\n```");
    // Fences open and close in turn; what opens is followed by its language.
    blocks.find_map(|block| {
        let body = block.strip_prefix("yaml\n")?;
        body.contains(mark).then_some(body)
    })
}

#[test]
fn the_block_with_the_mark_is_found_after_its_heading() {
    let text = "\n# A\n```yaml\nx: 1\n```\n## B\nwords\n```yaml\ny: 2\n```\n```yaml\nx: 3\n```\n";
    assert_eq!(find(text, "## B", "x:"), Some("x: 3"));
    assert_eq!(find(text, "# A", "x:"), Some("x: 1"));
    assert_eq!(find(text, "## B", "z:"), None);
}
