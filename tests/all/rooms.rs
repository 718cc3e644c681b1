//! The rooms of the house: who may import whom, as docs/architecture.md says.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room below the top, and the rooms that it may import besides itself, as the table of docs/architecture.md has them.
fn table(root: &Path) -> Vec<(String, Vec<String>)> {
    let page = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let rows = page.lines().skip_while(|line| !line.starts_with("| room |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        (quoted(cells[0]), quoted(cells[2]))
    });
    let (top, rooms): (Vec<_>, Vec<_>) = rows.partition(|(rooms, _)| rooms.len() > 1);
    assert_eq!(top, [(TOP.map(str::to_owned).to_vec(), Vec::new())]);
    rooms.into_iter().map(|(mut room, may)| (room.remove(0), may)).collect()
}

fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(|name| name.trim_end_matches('/').to_owned()).collect()
}

/// Rooms that may import everything.
const TOP: [&str; 3] = ["main", "cli", "app"];

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
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (root, table) = (project.join("src"), table(project));
    let mut seen = 0;
    for file in sources(&root) {
        let name = file.strip_prefix(&root).unwrap().components().next().unwrap();
        let room = Path::new(&name).file_stem().unwrap().to_str().unwrap().to_owned();
        if room == "lib" || TOP.contains(&room.as_str()) {
            continue;
        }
        let (_, allowed) = table.iter().find(|(known, _)| *known == room).unwrap_or_else(|| panic!("no room {room}"));
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for other in named(code)
                .iter()
                .filter(|other| TOP.contains(&other.as_str()) || table.iter().any(|(known, _)| known == *other))
            {
                seen += 1;
                let fine = *other == room || allowed.contains(other);
                assert!(fine, "{}:{}: `{room}` may not import `{other}`", file.display(), number + 1);
            }
        }
    }
    assert!(seen > 100, "only {seen} imports were seen");
}
