//! The rooms of the house: who may import whom, as docs/architecture.md says.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms that it may import besides itself.
const TABLE: [(&str, &[&str]); 11] = [
    ("event", &["key"]),
    ("execute", &["event", "key", "store"]),
    ("key", &[]),
    ("manifest", &["key"]),
    ("ml", &[]),
    ("plan", &["key", "manifest"]),
    ("plot", &[]),
    ("report", &["event", "key"]),
    ("schedule", &["event", "execute", "key", "manifest", "plan", "store"]),
    ("stages", &["execute", "key", "manifest", "ml", "plot"]),
    ("store", &["event", "key"]),
];

/// Rooms that may import everything.
const TOP: [&str; 4] = ["app", "cli", "lib", "main"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The rooms that a line names after `crate::`, also in braces: `use crate::{event, stages};`.
fn named(line: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let list = rest.strip_prefix('{').map_or(rest, |inner| inner.split('}').next().unwrap_or(inner));
        let parts: Vec<&str> = if rest.starts_with('{') { list.split(',').collect() } else { vec![list] };
        for part in parts {
            let name: String = part.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            rooms.push(name);
        }
    }
    rooms
}

#[test]
fn no_room_imports_what_the_table_does_not_allow() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for file in sources(&root) {
        let name = file.strip_prefix(&root).unwrap().components().next().unwrap();
        let room = Path::new(&name).file_stem().unwrap().to_str().unwrap().to_owned();
        if TOP.contains(&room.as_str()) {
            continue;
        }
        let (_, allowed) = TABLE.iter().find(|(known, _)| *known == room).unwrap_or_else(|| panic!("no room {room}"));
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for other in named(code).iter().filter(|other| TABLE.iter().any(|(known, _)| known == other)) {
                seen += 1;
                let fine = *other == room || allowed.contains(&other.as_str());
                assert!(fine, "{}:{}: `{room}` may not import `{other}`", file.display(), number + 1);
            }
        }
    }
    assert!(seen > 100, "only {seen} imports were seen");
}
