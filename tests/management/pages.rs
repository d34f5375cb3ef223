//! The pages about what is managed say what is there.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests are in the workspace")
        .to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources(directory: &Path, texts: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(read(&path));
        }
    }
}

/// All sources of the crates, each in one line.
fn crates() -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(root().join("crates")).expect("a directory") {
        sources(&entry.expect("an entry").path().join("src"), &mut texts);
    }
    // Text that goes on in the next line.
    let joined = |text: &String| text.split("\\\n").map(str::trim_start).collect::<String>();
    texts.iter().map(joined).collect()
}

/// What a macro call says: the last text in it.
fn said(call: &str) -> Option<&str> {
    let call = call.split(");").next()?;
    call.rsplit('"').nth(1)
}

#[test]
fn the_page_about_trouble_has_every_message_and_no_other() {
    let page = read(&root().join("docs/troubleshooting.md"));
    let crates = crates();
    let mut count = 0;
    for text in &crates {
        for level in ["warn!(", "info!(", "error!("] {
            for call in text.split(level).skip(1) {
                let message = said(call).expect("a message");
                assert!(
                    page.contains(&format!("| `{message}` |")),
                    "{message:?} is not there"
                );
                count += 1;
            }
        }
    }
    assert!(count >= 4, "{count} messages were found");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.map(|row| row.split('`').next().expect("a message"));
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    // What has several words and is no command line.
    let sentences = page.split('`').skip(1).step_by(2);
    let sentences = sentences.filter(|text| text.contains(' ') && !text.starts_with("cachectl "));
    for message in rows.chain(sentences) {
        let is_said = crates.iter().any(|text| text.contains(message));
        assert!(is_said, "nothing says {message:?}");
    }
}
