//! What the documents name is there: tests, functions and types, and a test for every `Reason`.

use std::fs;
use std::path::{Path, PathBuf};

const HEADER: &str = "| § | level | requirement | what we do | where | test |";

const LEVELS: [&str; 8] = [
    "MUST",
    "MUST NOT",
    "SHOULD",
    "SHOULD NOT",
    "MAY",
    "OPTIONAL",
    // A calculation or definition without a key word, which binds all the same.
    "rule",
    // Advice in lower case.
    "ought",
];

/// The sections of RFC 9111 that have a table.
const SECTIONS: [&str; 46] = [
    "1.2.2", "2", "3", "3.1", "3.2", "3.3", "3.4", "3.5", "4", "4.1", "4.2", "4.2.1", "4.2.2",
    "4.2.3", "4.2.4", "4.3.1", "4.3.2", "4.3.3", "4.3.4", "4.3.5", "4.4", "5.1", "5.2", "5.2.1",
    "5.2.1.1", "5.2.1.2", "5.2.1.3", "5.2.1.4", "5.2.1.5", "5.2.1.6", "5.2.1.7", "5.2.2.1",
    "5.2.2.2", "5.2.2.3", "5.2.2.4", "5.2.2.5", "5.2.2.6", "5.2.2.7", "5.2.2.8", "5.2.2.9",
    "5.2.2.10", "5.2.3", "5.3", "5.4", "5.5", "7",
];

/// The neighbours that have one.
const NEIGHBOURS: [&str; 6] = [
    "RFC 9110", "RFC 5861", "RFC 6585", "RFC 8246", "RFC 9211", "RFC 9213",
];

/// The reasons that no test asserts, and why not.
const UNASSERTED: [(&str, &str); 0] = [];

#[test]
fn every_row_has_all_columns() {
    let mut problems = Problems::default();
    for row in rows() {
        let Some([section, level, requirement, ours, places, tests]) = row.cells() else {
            problems.add(&row, "it does not have six columns");
            continue;
        };
        for (name, cell) in [
            ("§", section),
            ("requirement", requirement),
            ("what we do", ours),
        ] {
            problems.add_if(cell.is_empty(), &row, &format!("{name} is empty"));
        }
        problems.add_if(!LEVELS.contains(&level), &row, "the level is none");
        problems.add_if(
            !is_within(section, &row.chapter),
            &row,
            "it stands in another section",
        );
        let is_left_out = ["Not done: ", "Not ours: "]
            .iter()
            .any(|left_out| ours.starts_with(left_out));
        problems.add_if(
            places == "none" && !is_left_out,
            &row,
            "it does not say where",
        );
        let is_explained = is_left_out || ours.starts_with("Departs: ");
        problems.add_if(
            tests == "none" && !is_explained,
            &row,
            "it names no test, and not why",
        );
    }
    problems.are_none();
}

#[test]
fn every_section_has_a_row() {
    let mut problems = Problems::default();
    let rows = rows();
    for section in SECTIONS {
        let has_row = rows
            .iter()
            .any(|row| row.rfc == "RFC 9111" && row.is_of(section));
        problems.add_if(!has_row, &section, "it has no row");
    }
    for rfc in NEIGHBOURS {
        let has_row = rows.iter().any(|row| row.rfc == rfc);
        problems.add_if(!has_row, &rfc, "it has no row");
    }
    problems.are_none();
}

#[test]
fn every_place_that_is_named_is_there() {
    let mut problems = Problems::default();
    for row in rows() {
        for place in row.names(4, &mut problems) {
            if let Err(problem) = find_place(&place) {
                problems.add(&row, &problem);
            }
        }
    }
    problems.are_none();
}

#[test]
fn every_test_that_is_named_is_there_and_runs() {
    let mut problems = Problems::default();
    for row in rows() {
        for test in row.names(5, &mut problems) {
            if let Err(problem) = find_test(&test) {
                problems.add(&row, &problem);
            }
        }
    }
    problems.are_none();
}

#[test]
fn every_test_that_the_order_of_layers_names_is_there_and_runs() {
    let text = read(&root().join("docs/ordering.md"));
    let mut problems = Problems::default();
    let mut count = 0;
    // Tests are sentences, and nothing else that it names is.
    for name in quoted(&text).filter(|name| name.matches('_').count() > 2) {
        count += 1;
        if let Err(problem) = find_test(&format!("clients::{name}")) {
            problems.add(&"docs/ordering.md", &problem);
        }
    }
    problems.add_if(count == 0, &"docs/ordering.md", "it names no test");
    problems.are_none();
}

/// The rows of the list of what requests-cache can do that carry over, and how far the document has
/// come: up to this one.
const LAST_ROW: usize = 165;

/// Those of them that have no meaning here.
const ROWS_LEFT_OUT: [usize; 9] = [3, 4, 6, 12, 16, 73, 102, 163, 165];

#[test]
fn everything_of_requests_cache_has_its_row_and_every_row_is_shown() {
    let text = read(&root().join("docs/coming-from-requests-cache.md"));
    let mut problems = Problems::default();
    let mut found = Vec::new();
    for section in text.split("\n## ").skip(1) {
        let code = example(section);
        for line in section.lines().filter(|line| line.starts_with("| ")) {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let [number, theirs, ours, shown] = cells[..] else {
                problems.add(&line, "it does not have four columns");
                continue;
            };
            let Ok(number) = number.parse::<usize>() else {
                continue;
            };
            found.push(number);
            let row = format!("row {number}");
            problems.add_if(theirs.is_empty(), &row, "it does not say what theirs is");
            problems.add_if(ours.is_empty(), &row, "it does not say what ours is");
            let fragment = quoted(ours).next();
            for place in shown.split(", ") {
                if let Err(problem) = find_shown(place, fragment, &code) {
                    problems.add(&row, &problem);
                }
            }
        }
    }
    let expected: Vec<_> = (1..=LAST_ROW)
        .filter(|number| !ROWS_LEFT_OUT.contains(number))
        .collect();
    assert_eq!(found, expected, "the numbers of the rows");
    problems.are_none();
}

/// The Rust code of a section, without white space.
fn example(section: &str) -> String {
    let blocks = section.split("```").skip(1).step_by(2);
    let code = blocks.filter_map(|block| block.strip_prefix("rust\n"));
    code.flat_map(str::split_whitespace).collect()
}

/// Whether something is shown where a row says: in the example, in a file, or in a test.
fn find_shown(place: &str, fragment: Option<&str>, code: &str) -> Result<(), String> {
    let has = |text: &str| {
        let fragment: String = fragment?.split_whitespace().collect();
        text.contains(&fragment).then_some(())
    };
    if place == "example" {
        return has(code).ok_or_else(|| format!("{fragment:?} is not in the example"));
    }
    let Some(name) = place
        .strip_prefix('`')
        .and_then(|name| name.strip_suffix('`'))
    else {
        return Err(format!("{place:?} is no place"));
    };
    if name.contains("::") {
        return find_test(name);
    }
    let text = fs::read_to_string(root().join(name)).map_err(|_| format!("no file {name}"))?;
    // A document is the whole answer; of another file, the row says what in it.
    let is_there =
        name.ends_with(".md") || has(&text.split_whitespace().collect::<String>()).is_some();
    is_there
        .then_some(())
        .ok_or_else(|| format!("{fragment:?} is not in {name}"))
}

#[test]
fn every_reason_is_asserted_by_a_test() {
    let reasons = read(&root().join("crates/cache-core/src/reason.rs"));
    let variants = reasons_of(&reasons);
    let tests = sources(&root().join("tests"));
    let is_asserted = |reason: &str| {
        let name = format!("Reason::{reason}");
        tests.iter().any(|text| has_word(text, &name))
    };
    let mut problems = Problems::default();
    for reason in &variants {
        let exception = UNASSERTED.iter().find(|(name, _)| name == reason);
        match (is_asserted(reason), exception) {
            (false, None) => problems.add(reason, "no test asserts it"),
            (true, Some(_)) => problems.add(reason, "a test asserts it: it is no exception"),
            _ => {}
        }
    }
    for (name, why) in UNASSERTED {
        problems.add_if(!variants.contains(&name), &name, "there is no such reason");
        problems.add_if(why.is_empty(), &name, "it does not say why");
    }
    problems.are_none();
}

#[test]
fn the_page_of_events_has_every_reason_and_its_text() {
    let source = read(&root().join("crates/cache-core/src/reason.rs"));
    let (_, texts) = source.split_once("pub fn explain").expect("the texts");
    let expected: Vec<_> = reasons_of(&source)
        .into_iter()
        .map(|name| {
            let arm = format!("Self::{name} =>");
            let (_, after) = texts.split_once(&arm).expect("an arm");
            let text = after.split('"').nth(1).expect("a text");
            format!("| `{name}` | {text} |")
        })
        .collect();
    assert_eq!(table("docs/events.md", "| reason | text |"), expected);
}

#[test]
fn the_page_of_events_has_every_metric() {
    let source = read(&root().join("crates/cache-tower/src/metrics.rs"));
    let rows: Vec<_> = source
        .lines()
        .filter_map(|line| line.strip_prefix("/// "))
        .filter(|line| line.starts_with("| `http_cache_"))
        .collect();
    let on_page = table("docs/events.md", "| name | kind | labels | |");
    assert_eq!(on_page, rows);
    let counted = source.split("\"http_cache_").skip(1);
    let counted = counted.filter_map(|after| after.split('"').next());
    let mut problems = Problems::default();
    for name in counted {
        let row = format!("| `http_cache_{name}` |");
        let is_there = rows.iter().any(|line| line.starts_with(&row));
        problems.add_if(!is_there, &name, "it has no row");
    }
    problems.are_none();
}

/// The crates that are used by others.
const CRATES: [&str; 8] = [
    "cache-codec",
    "cache-core",
    "cache-memory",
    "cache-redis",
    "cache-reqwest",
    "cache-testing",
    "cache-tower",
    "cachectl",
];

#[test]
fn the_readme_has_every_feature_and_the_defaults() {
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    let mut of = String::new();
    for row in table("README.md", "| crate | feature | what it turns on |") {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let named = quoted(cells[0]).next().map(str::to_owned);
        of = named.unwrap_or(of);
        let is_default = cells[1].contains("(default)");
        found.extend(quoted(cells[1]).map(|name| (of.clone(), name.to_owned(), is_default)));
    }
    for name in CRATES {
        let path = root().join("crates").join(name).join("Cargo.toml");
        let manifest = read(&path);
        let Some((_, features)) = manifest.split_once("\n[features]\n") else {
            continue;
        };
        let features = features.split("\n[").next().unwrap_or_default();
        let features = features.lines().filter_map(|line| line.split_once(" = "));
        let mut defaults = "";
        for (feature, turns_on) in features {
            match feature {
                "default" => defaults = turns_on,
                _ => {
                    let is_default = defaults.contains(&format!("\"{feature}\""));
                    expected.push((name.to_owned(), feature.to_owned(), is_default));
                }
            }
        }
    }
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

/// The rows of a table.
fn table(page: &str, head: &str) -> Vec<String> {
    let text = read(&root().join(page));
    let mut lines = text.lines().skip_while(|line| *line != head);
    assert!(lines.next().is_some(), "{page} has no table {head}");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(str::to_owned).collect()
}

/// The names of all reasons.
fn reasons_of(source: &str) -> Vec<&str> {
    let (_, variants) = source.split_once("pub enum Reason {").expect("the enum");
    let (variants, _) = variants.split_once("\n}").expect("its end");
    let variants: Vec<_> = variants
        .lines()
        .filter_map(|line| line.trim().strip_suffix(','))
        .filter(|name| !name.contains(' '))
        .collect();
    assert!(variants.len() > 40, "{variants:?}");
    variants
}

/// A row of a table in `docs/rfc9111.md`.
struct Row {
    line: usize,
    /// The heading of the document that it is in.
    rfc: String,
    /// The number of the section that it is in; none: that of the whole document.
    chapter: String,
    text: String,
}

impl Row {
    /// What is between the bars.
    fn cells(&self) -> Option<[&str; 6]> {
        let inner = self.text.strip_prefix('|')?.strip_suffix('|')?;
        let cells: Vec<_> = inner.split('|').map(str::trim).collect();
        cells.try_into().ok()
    }

    fn is_of(&self, section: &str) -> bool {
        self.cells().is_some_and(|cells| cells[0] == section)
    }

    /// What is named in a column, all of it in backticks.
    fn names(&self, column: usize, problems: &mut Problems) -> Vec<String> {
        let cell = self.cells().map_or("", |cells| cells[column]);
        if cell == "none" {
            return Vec::new();
        }
        let names: Vec<_> = quoted(cell).map(str::to_owned).collect();
        let written: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        problems.add_if(
            names.is_empty() || written.join(", ") != cell,
            self,
            &format!("{cell:?} is no list of names"),
        );
        names
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "docs/rfc9111.md:{}", self.line)
    }
}

/// What is wrong, all of it, so that one run shows it.
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, place: &impl std::fmt::Display, what: &str) {
        self.0.push(format!("{place}: {what}"));
    }

    fn add_if(&mut self, is_wrong: bool, place: &impl std::fmt::Display, what: &str) {
        if is_wrong {
            self.add(place, what);
        }
    }

    #[track_caller]
    fn are_none(&self) {
        assert!(self.0.is_empty(), "\n{}", self.0.join("\n"));
    }
}

fn rows() -> Vec<Row> {
    let text = read(&root().join("docs/rfc9111.md"));
    let (mut rfc, mut chapter) = (String::new(), String::new());
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(heading) = line.strip_prefix("## ") {
            rfc = heading.to_owned();
            chapter.clear();
        } else if let Some(heading) = line.strip_prefix("### ") {
            chapter = heading.split(' ').next().unwrap_or_default().to_owned();
        } else if line.starts_with('|') && line != HEADER && !line.starts_with("|---") {
            rows.push(Row {
                line: index + 1,
                rfc: rfc.clone(),
                chapter: chapter.clone(),
                text: line.to_owned(),
            });
        }
    }
    assert!(rows.len() > 100, "{} rows", rows.len());
    rows
}

/// Whether a section is a chapter, or in it: `5.2.1` has `5.2.1.7`, and not `5.2.10`.
fn is_within(section: &str, chapter: &str) -> bool {
    match section.strip_prefix(chapter) {
        Some(rest) => chapter.is_empty() || rest.is_empty() || rest.starts_with('.'),
        None => false,
    }
}

/// Finds `cache-core/src/rules/storing.rs::permit`, a path below `crates` and what it declares.
fn find_place(place: &str) -> Result<(), String> {
    let (path, names) = place
        .split_once(".rs::")
        .ok_or_else(|| format!("{place} names no file and what is in it"))?;
    let path = root().join("crates").join(format!("{path}.rs"));
    let text = fs::read_to_string(path).map_err(|_| format!("{place}: there is no such file"))?;
    for name in names.split("::") {
        if !declares(&text, name) {
            return Err(format!("{place}: {name} is not there"));
        }
    }
    Ok(())
}

/// Finds `binary::module::function`, or `crate::module::function` for a test beside the code.
fn find_test(test: &str) -> Result<(), String> {
    let parts: Vec<_> = test.split("::").collect();
    let (binary, modules, name) = match &*parts {
        [binary, modules @ .., name] => (*binary, modules, *name),
        _ => return Err(format!("{test} names no test")),
    };
    let is_crate = binary.contains('-');
    let mut path = match binary {
        _ if is_crate => root().join("crates").join(binary).join("src"),
        _ => root().join("tests").join(binary),
    };
    if let ([module], false, true) = (modules, is_crate, binary != "kit") {
        let main = fs::read_to_string(path.join("main.rs")).unwrap_or_default();
        if !main.contains(&format!("\nmod {module};")) {
            return Err(format!("{test}: the module does not run"));
        }
    }
    path.extend(modules);
    path.set_extension("rs");
    let text = fs::read_to_string(path).map_err(|_| format!("{test}: there is no such file"))?;
    let mut before = "";
    for line in text.lines().map(str::trim) {
        if has_word(line, &format!("fn {name}")) {
            // What every backend promises is run by a macro, and what has to be true over several.
            let is_listed = text.lines().any(|line| line.trim() == name);
            let is_marked = before.starts_with("#[") && before.contains("test");
            let runs = is_marked || is_listed || binary == "kit";
            return runs
                .then_some(())
                .ok_or_else(|| format!("{test}: it is no test"));
        }
        before = line;
    }
    Err(format!("{test}: there is no such function"))
}

fn declares(text: &str, name: &str) -> bool {
    ["fn", "struct", "enum", "trait", "const", "type"]
        .iter()
        .any(|kind| has_word(text, &format!("{kind} {name}")))
}

/// Whether a text has this, and not as the beginning of something longer.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let next = text[at + word.len()..].chars().next();
        !next.is_some_and(|next| next.is_alphanumeric() || next == '_')
    })
}

/// What is in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// All sources of tests but this one.
fn sources(directory: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            texts.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with(file!().rsplit('/').next().expect("a name"))
        {
            texts.push(read(&path));
        }
    }
    texts
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests are in the workspace")
        .to_owned()
}
