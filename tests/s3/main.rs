//! A cache shared on a real S3 server on this machine, which `scripts/test-s3` starts and whose parts these tests stop. They run one after the
//! other (`--test-threads=1`). Between the program and the server stands, where a test wants it, a proxy that spoils what passes.
#![expect(clippy::print_stderr, reason = "a test says what it measured")]

#[path = "../all/project.rs"]
#[allow(dead_code, reason = "shared with the other tests, which use more of it")]
mod project;
mod proxy;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use project::{Project, Ran};
use proxy::{Fault, Proxy};

/// Does something to a part of the server: `stop`, `crash`, `start`.
fn server_part(deed: &str, part: &str) {
    let folder = std::env::var("THALWEG_TEST_S3").expect("run these by `scripts/test-s3`, which starts a server");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/s3-test-server");
    assert!(Command::new(script).args([deed, &folder, part]).status().unwrap().success(), "{deed} {part}");
}

/// A prefix that no other test uses.
fn address() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let bucket = std::env::var("S3_TEST_BUCKET").expect("run these by `scripts/test-s3`, which starts a server");
    format!("s3://{bucket}/{now}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Two commands, the first of which makes so many bytes that are not all alike.
fn study(bytes: usize, log: &Path) -> String {
    let (first, second) = (
        format!("echo a >> {log}; seq 1 99999999 | head -c {bytes} > a.bin", log = log.display()),
        format!("echo b >> {log}; cat a.bin > b.bin; echo b >> b.bin", log = log.display()),
    );
    format!(
        "study = \"shared\"\n[stage.a]\nkind = \"command\"\nprogram = \"sh\"\nargs = [\"-c\", {first:?}]\noutputs = [\"a.bin\"]\n\
         [stage.b]\nkind = \"command\"\nprogram = \"sh\"\nargs = [\"-c\", {second:?}]\nfrom = \"a\"\noutputs = [\"b.bin\"]\n"
    )
}

/// Projects that share a cache, and how many commands ran for them.
struct Place {
    folder: tempfile::TempDir,
    address: String,
    bytes: usize,
}

impl Place {
    fn new(bytes: usize) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), address: address(), bytes }
    }

    fn project(&self) -> Project {
        let project = Project::with(&study(self.bytes, &self.log()));
        project.file("thalweg.toml", &format!("[cache]\nremote = {:?}\n", self.address));
        project
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn commands(&self) -> usize {
        fs::read_to_string(self.log()).unwrap_or_default().lines().count()
    }
}

fn run(project: &Project, environment: &[(&str, &str)]) -> Ran {
    let output = project.command(&["run", "study.toml"]).envs(environment.iter().copied()).output().unwrap();
    Ran::of(project, &output)
}

#[test]
fn what_one_project_made_another_finds_large_and_small() {
    for bytes in [3_000, 40_000_000] {
        let place = Place::new(bytes);
        run(&place.project(), &[]).succeeds().says("into the shared cache `s3://");
        let second = place.project();
        let ran = run(&second, &[]);
        assert_eq!((ran.succeeds().stages("fresh").len(), place.commands()), (2, 2), "{}", ran.err);
        second.call(&["cache", "verify"]).succeeds();
        second.call(&["cache", "push"]).succeeds();
        let third = place.project();
        third.call(&["cache", "pull"]).succeeds().says("2 blobs");
        third.call(&["cache", "gc", "--grace", "0", "--remote", "--dry-run"]).succeeds();
        third.call(&["cache", "gc", "--grace", "0", "--remote", "--reached"]).succeeds().says("freed");
        run(&place.project(), &[]).succeeds();
        assert_eq!(place.commands(), 4, "bytes that were collected are made again");
    }
}

#[test]
fn credentials_are_in_no_message_record_or_file() {
    let place = Place::new(3_000);
    let project = place.project();
    let wrong = [("AWS_SECRET_ACCESS_KEY", "wrong-secret"), ("AWS_ACCESS_KEY_ID", "wrong-access")];
    let ran = run(&project, &wrong);
    ran.succeeds().says("cannot be used, so it is done without");
    let files = project.files("cache").into_iter().chain(project.files("results"));
    let all: String = files.map(|(_, bytes)| String::from_utf8_lossy(&bytes).into_owned()).collect();
    for secret in ["wrong-secret", "wrong-access"] {
        assert!(!ran.err.contains(secret) && !ran.out.contains(secret) && !all.contains(secret), "{}", ran.err);
    }
}

#[test]
fn a_server_that_stops_in_the_middle_is_done_without_and_has_nothing_half() {
    let place = Place::new(200_000_000);
    let project = place.project();
    let mut command = project.command(&["run", "study.toml"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while place.commands() < 2 {
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    server_part("crash", "rgw");
    let ran = Ran::of(&project, &child.wait_with_output().unwrap());
    server_part("start", "rgw");
    std::thread::sleep(Duration::from_secs(3));
    ran.succeeds().says("did not get into the shared cache").says("thalweg cache push");
    let second = place.project();
    run(&second, &[]).succeeds();
    second.call(&["cache", "verify"]).succeeds();
    project.call(&["cache", "push"]).succeeds();
    let commands = place.commands();
    run(&place.project(), &[]).succeeds();
    assert_eq!(place.commands(), commands);
}

#[test]
fn what_a_bad_link_spoils_is_not_believed_and_a_storm_is_weathered() {
    let place = Place::new(3_000_000);
    run(&place.project(), &[]).succeeds();
    let endpoint = std::env::var("AWS_ENDPOINT").unwrap();
    let expected = study(3_000_000, &place.log());
    assert!(expected.contains("3000000"));
    for fault in [Fault::None, Fault::Slow, Fault::Storm(3), Fault::Cut, Fault::Flip, Fault::Always500] {
        let proxy = Proxy::start(&endpoint, fault);
        let project = place.project();
        let commands = place.commands();
        let start = Instant::now();
        let ran = run(&project, &[("AWS_ENDPOINT", &proxy.address())]);
        ran.succeeds();
        let made = place.commands() - commands;
        eprintln!("{fault:?}: {made} commands ran, {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(90), "{fault:?} took {:?}", start.elapsed());
        let bytes = fs::read(project.path("b.bin")).unwrap();
        assert_eq!((bytes.len(), &bytes[bytes.len() - 2..]), (3_000_002, &b"b\n"[..]), "{fault:?}");
        project.call(&["cache", "verify"]).succeeds();
        match fault {
            Fault::None | Fault::Slow | Fault::Storm(_) => assert_eq!(made, 0, "{fault:?}: {}", ran.err),
            Fault::Flip => assert!(ran.err.contains("passed over"), "{}", ran.err),
            Fault::Cut | Fault::Always500 => assert!(ran.err.contains("done without"), "{fault:?}: {}", ran.err),
        }
    }
}

#[test]
fn a_gigabyte_is_pulled_about_as_fast_as_curl_gets_it() {
    let (blobs, bytes) = (8, 128 << 20);
    let place = Place::new(1);
    let project = place.project();
    let commands: String = (0..blobs)
        .map(|n| {
            let make = format!("yes {n} | head -c {bytes} > big{n}.bin");
            format!("[stage.big{n}]\nkind = \"command\"\nprogram = \"sh\"\nargs = [\"-c\", {make:?}]\noutputs = [\"big{n}.bin\"]\n")
        })
        .collect();
    project.file("study.toml", &format!("study = \"big\"\n{commands}"));
    run(&project, &[]).succeeds();
    let (mut best_pull, mut best_curl) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..3 {
        let second = place.project();
        let start = Instant::now();
        second.call(&["cache", "pull"]).succeeds().says("1.0 GiB");
        best_pull = best_pull.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        curl_all(&place.address, second.path("curl").as_path());
        best_curl = best_curl.min(start.elapsed().as_secs_f64());
    }
    // Measured, not asserted: machines are noisy.
    eprintln!(
        "1 GiB: pull {best_pull:.2} s, curl {best_curl:.2} s, {:.0} % of curl's rate",
        100.0 * best_curl / best_pull
    );
}

/// Gets every blob below an address with curl, one after the other on one connection.
fn curl_all(address: &str, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let env = |name: &str| std::env::var(name).unwrap();
    let sign = ["--aws-sigv4", "aws:amz:us-east-1:s3", "--user"].map(str::to_owned).to_vec();
    let user = format!("{}:{}", env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"));
    let sign = [sign, vec![user, "-H".to_owned(), "x-amz-content-sha256: UNSIGNED-PAYLOAD".to_owned()]].concat();
    let (bucket, prefix) = address.trim_start_matches("s3://").split_once('/').unwrap();
    let base = format!("{}/{bucket}", env("AWS_ENDPOINT"));
    let list = format!("{base}?list-type=2&prefix={prefix}%2Fblobs%2F");
    let output = Command::new("curl").args(["-sSf"]).args(&sign).arg(list).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let keys: Vec<&str> = text.split("<Key>").skip(1).filter_map(|part| part.split("</Key>").next()).collect();
    assert!(keys.len() >= 8, "{text}");
    let mut command = Command::new("curl");
    command.args(["-sSf"]).args(&sign);
    for (n, key) in keys.iter().enumerate() {
        command.arg("-o").arg(folder.join(n.to_string())).arg(format!("{base}/{key}"));
    }
    assert!(command.status().unwrap().success());
}
