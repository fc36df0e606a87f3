//! Holds the pages in `docs/` together: each link leads somewhere, each file and test that a page
//! names is there.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All pages, with their text outside of code blocks.
fn pages() -> Vec<(PathBuf, String)> {
    let directories = ["", "docs", "docs/adr"].map(|directory| root().join(directory));
    let entries = directories.iter().flat_map(|directory| fs::read_dir(directory).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let pages = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.map(|path| (path.clone(), without_code(&fs::read_to_string(path).unwrap()))).collect()
}

fn without_code(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// The names that headings can be linked by, as GitHub makes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let slug = |heading: &str| heading.trim_start_matches('#').trim().to_lowercase();
    headings.map(|h| slug(h).chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut dangling = Vec::new();
    for (path, text) in pages() {
        for found in link.captures_iter(&text) {
            let (file, anchor) = found[1].split_once('#').unwrap_or((&found[1], ""));
            let target = match file {
                "" => path.clone(),
                file => path.with_file_name("").join(file),
            };
            let has_anchor =
                || anchors(&without_code(&fs::read_to_string(&target).unwrap())).contains(anchor);
            let is_there = || target.exists() && (anchor.is_empty() || has_anchor());
            if !found[1].starts_with("https://") && !is_there() {
                dangling.push(format!("{}: {}", path.display(), &found[1]));
            }
        }
    }
    assert!(dangling.is_empty(), "{dangling:#?}");
}

#[test]
fn every_file_and_test_that_a_page_names_is_there() {
    let name = Regex::new(r"`((?:core|fusefs|tui|src|tests)/[\w/.-]+)(?:::(\w+))?`").unwrap();
    let mut missing = Vec::new();
    for (path, text) in pages() {
        for found in name.captures_iter(&text) {
            let file = root().join(&found[1]);
            let is_there = match found.get(2) {
                None => file.exists(),
                Some(test) => fs::read_to_string(file)
                    .is_ok_and(|code| code.contains(&format!("fn {}(", test.as_str()))),
            };
            if !is_there {
                missing.push(format!("{}: {}", path.display(), &found[0]));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
