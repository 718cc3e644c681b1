//! A shared cache to which anybody may write, and what collecting it must not take: no file outside is touched, nobody's results go, and what
//! is wrong is told.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::project::{Project, Ran};
use crate::shared::{Place, is_sort, run_with_key};

/// A record's bytes with another body, under a checksum that fits.
fn forged(record: &[u8], change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let text = String::from_utf8(record.to_vec()).unwrap();
    let (head, body) = text.split_once('\n').unwrap();
    let mut value: serde_json::Value = serde_json::from_str(body).unwrap();
    change(&mut value);
    let (format, body) = (head.rsplit_once(' ').unwrap().0, value.to_string());
    format!("{format} {}\n{body}\n", blake3::hash(body.as_bytes()).to_hex()).into_bytes()
}

fn objects(place: &Place, sort: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    place.objects().into_iter().filter(|(path, _)| is_sort(path, sort)).collect()
}

fn is_stage(record: &[u8]) -> bool {
    String::from_utf8_lossy(record).contains("\"level\":\"stage\"")
}

#[test]
fn a_record_whose_outputs_lead_out_of_the_project_writes_nothing_there() {
    let place = Place::new();
    place.project().run().succeeds();
    let victim = place.path("victim");
    fs::write(&victim, "mine").unwrap();
    for name in [victim.display().to_string(), "../../../../up".to_owned()] {
        for (path, bytes) in objects(&place, "records") {
            let lie = serde_json::json!({"digest": blake3::hash(b"evil").to_hex().to_string(), "length": 4, "inline": "evil"});
            fs::write(&path, forged(&bytes, |record| record["outputs"][&name] = lie)).unwrap();
        }
        let project = place.project();
        project.edit("wc -c", "wc -m");
        project.run().succeeds().says("is no name below a folder");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
        assert_eq!(project.read("c.txt").trim(), "3004");
    }
    assert!(!place.path("up").exists());
}

#[test]
fn a_record_that_carries_other_bytes_than_its_digest_is_passed_over() {
    let place = Place::new();
    place.project().run().succeeds();
    for (path, bytes) in objects(&place, "records") {
        let lie = |record: &mut serde_json::Value| {
            if record["outputs"]["c.txt"].is_object() {
                record["outputs"]["c.txt"]["inline"] = "9999\n".into();
            }
        };
        fs::write(&path, forged(&bytes, lie)).unwrap();
    }
    let project = place.project();
    project.run().succeeds().says("do not fit their digest");
    assert_eq!(project.read("c.txt").trim(), "3004");
}

#[test]
fn nothing_is_collected_where_it_is_not_known_what_studies_reach() {
    let place = Place::new();
    let project = place.project();
    project.run().succeeds();
    let all = place.objects();
    let root = objects(&place, "roots").into_iter().next().unwrap();
    let stage = objects(&place, "records").into_iter().find(|(_, bytes)| is_stage(bytes)).unwrap();
    let list = objects(&place, "lists").into_iter().next().unwrap();
    for (path, bytes) in [root, stage, list] {
        for damaged in [&b"{}"[..], &bytes[..bytes.len() / 2], b""] {
            fs::write(&path, damaged).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            project.call(&["cache", "gc", "--grace", "0", "--remote"]).exits(4).says("is not known, since").says(name);
            assert_eq!(place.objects().len(), all.len());
        }
        fs::write(&path, bytes).unwrap();
    }
    project.call(&["cache", "gc", "--grace", "0", "--remote"]).succeeds();
    assert_eq!(place.objects(), all);
}

#[test]
fn what_one_signer_reaches_is_not_collected_for_another() {
    let place = Place::new();
    let project = place.project();
    // The same study without a secret, with one and with another: each has records of its own.
    project.run().succeeds();
    project.edit("wc -c", "wc -m");
    for key in ["ours", "theirs"] {
        run_with_key(&project, key).succeeds();
    }
    let before = place.objects();
    let temporary = place.path("temporary");
    fs::create_dir(&temporary).unwrap();
    for _ in 0..4 {
        let mut command = project.command(&["cache", "gc", "--grace", "0", "--remote"]);
        Ran::of(&project, &command.env("TMPDIR", &temporary).output().unwrap()).succeeds();
        assert_eq!(place.objects(), before);
    }
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    for key in ["ours", "theirs"] {
        let commands = place.commands();
        let other = place.project();
        other.edit("wc -c", "wc -m");
        run_with_key(&other, key).succeeds();
        assert_eq!(place.commands(), commands, "all that {key} reached is still there");
    }
}

#[test]
fn a_secret_that_is_none_is_refused() {
    let place = Place::new();
    let project = place.project();
    for (secret, words) in [(&b""[..], "set and empty"), (b"abc\xffdef", "no text")] {
        let mut command = project.command(&["run", "study.toml"]);
        command.env("THALWEG_RECORD_KEY", std::ffi::OsStr::from_bytes(secret));
        Ran::of(&project, &command.output().unwrap()).exits(2).says(words);
    }
    assert_eq!(place.commands(), 0);
}

#[test]
fn what_is_no_file_there_neither_holds_anybody_up_nor_leads_away() {
    let place = Place::new();
    let project = place.project();
    project.run().succeeds();
    let record = objects(&place, "records").into_keys().next().unwrap();
    let elsewhere = place.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("precious"), "mine").unwrap();
    symlink(&elsewhere, place.shared().join("blobs/zz")).unwrap();
    symlink(".", place.shared().join("round")).unwrap();
    symlink("..", place.shared().join("blobs/round")).unwrap();
    fs::remove_file(&record).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&record).status().unwrap();
    assert!(made.success());
    let user = place.project();
    user.call(&["cache", "pull"]).succeeds();
    user.run().succeeds();
    assert_eq!(user.read("c.txt").trim(), "3004");
    project.call(&["cache", "gc", "--grace", "0", "--remote", "--all"]);
    assert_eq!(fs::read_to_string(elsewhere.join("precious")).unwrap(), "mine");
}

#[test]
fn looking_makes_no_folder_and_one_that_is_not_mounted_is_not_filled() {
    let place = Place::new();
    let project = place.project();
    project.call(&["plan", "study.toml"]).succeeds();
    project.call(&["cache", "gc", "--grace", "0", "--remote", "--dry-run"]);
    assert!(!place.shared().exists());
    let address = format!("file://{}", place.path("not-mounted/shared").display());
    project.run_with(&["--remote", &address]).succeeds().says("cannot be used");
    assert!(!place.path("not-mounted").exists());
    project.call(&["cache", "push", "--cache", "no-such-cache"]).exits(2).says("there is no cache");
    let own = format!("file://{}", project.path("cache").display());
    project.run_with(&["--remote", &own]).exits(2).says("cannot be shared with itself");
}

/// Whether a push by hand still finds something missing.
fn missing(project: &Project) -> bool {
    !project.call(&["cache", "push"]).succeeds().out.contains("has all that is here")
}

#[test]
fn when_a_run_is_done_all_of_its_study_is_there_whoever_made_it_and_when() {
    // Made without the shared cache.
    let place = Place::new();
    let project = place.project();
    project.run_with(&["--remote", "none"]).succeeds();
    project.run().succeeds().says("into the shared cache");
    assert!(!missing(&project));
    // Made by a run that was not to put anything there.
    let place = Place::new();
    let project = place.project();
    project.run_with(&["--remote-write", "never"]).succeeds();
    project.edit("wc -c", "wc -m").run().succeeds();
    let user = place.project();
    user.edit("wc -c", "wc -m").run().succeeds();
    assert_eq!(place.commands(), 4);
    // And then nobody asks.
    fs::remove_dir_all(place.shared()).unwrap();
    assert!(!project.run().succeeds().err.contains("shared cache"));
}

/// What an address with a secret in it may show.
#[test]
fn a_password_in_an_address_is_shown_nowhere() {
    let project = Project::with("study = \"x\"\n[stage.a]\nkind = \"command\"\nprogram = \"true\"\n");
    for address in ["s3://AKIAX:topsecret@host/b", "s3://b?x=topsecret"] {
        project.file("thalweg.toml", &format!("[cache]\nremote_write = \"soon\"\nremote = \"{address}\"\n"));
        for words in [&["run", "study.toml"][..], &["run", "study.toml", "--remote", address], &["cache", "push"]] {
            let ran = project.call(words);
            ran.exits(2).says("s3://");
            assert!(!ran.err.contains("topsecret") && !ran.out.contains("topsecret"), "{}{}", ran.out, ran.err);
        }
    }
}
