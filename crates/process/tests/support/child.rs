//! One test of a test binary run again as a process of its own, so that it panics for real; and
//! what `/proc` says of a process.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::Path;
use std::process::Command;

/// Names the panic the child is to have.
const KIND: &str = "CALLMETER_TEST_PANIC";
/// What no output may show.
pub(crate) const SECRET: &str = "planted-5e1c0ffee7";
/// Panics whose message holds the secret.
pub(crate) const WITH_SECRET: [&str; 4] = ["formatted", "unwrap", "payload", "thread"];
/// A panic with a literal message.
pub(crate) const LITERAL: &str = "literal";

/// In the child: has the panic it was started for. In the parent nothing.
pub(crate) fn panic_if_child(prepare: impl FnOnce()) {
    let Ok(kind) = std::env::var(KIND) else {
        return;
    };
    prepare();
    println!("core files: {:?}", core_limits(std::process::id()));
    match kind.as_str() {
        "formatted" => panic!("cannot connect with {}", std::hint::black_box(SECRET)),
        "unwrap" => drop("no number".parse::<u8>().map_err(|_| SECRET).unwrap()),
        "payload" => std::panic::panic_any(SECRET.to_owned()),
        "thread" => {
            let dies = || panic!("cannot connect with {}", std::hint::black_box(SECRET));
            let died = std::thread::Builder::new()
                .name("dies".into())
                .spawn(dies)
                .unwrap();
            // A thread that has ended unwinding is the end of this process as well.
            std::process::exit(if died.join().is_err() { 101 } else { 0 });
        }
        _ => panic!("a literal message"),
    }
}

/// Runs the test `name` of this binary as a child that panics; its status and all its output.
pub(crate) fn panicking(name: &str, kind: &str) -> (Option<i32>, String) {
    let program = std::env::current_exe().unwrap();
    let output = with_core_files_allowed(&program)
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(KIND, kind)
        .output()
        .unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

/// Every panic with the secret tells its place and not its message.
pub(crate) fn assert_panics_hide_secrets(name: &str) {
    for kind in WITH_SECRET {
        let (status, text) = panicking(name, kind);
        assert_eq!(status, Some(101), "{kind}: {text}");
        assert!(text.contains("child.rs:"), "{kind}, no place: {text}");
        let none = format!("core files: {:?}", Some(no_core_files()));
        assert!(text.contains(&none), "{kind}, core files: {text}");
        assert!(!text.contains(SECRET), "{kind}: {text}");
    }
    let (_, text) = panicking(name, LITERAL);
    assert!(text.contains("a literal message"), "{text}");
}

/// A command that starts `program` with core files allowed, so that forbidding them shows.
pub(crate) fn with_core_files_allowed(program: &Path) -> Command {
    let mut command = Command::new("sh");
    let script = "ulimit -c 4096; exec \"$0\" \"$@\"";
    command.args(["-c", script]).arg(program);
    command
}

fn no_core_files() -> (String, String) {
    ("0".to_owned(), "0".to_owned())
}

/// Soft and hard limit of core files of a process, as the kernel has them.
pub(crate) fn core_limits(pid: u32) -> Option<(String, String)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"))?;
    let mut words = line.split_whitespace().map(str::to_owned);
    Some((words.next()?, words.next()?))
}

/// Waits until a process forbids core files; panics when it has not after 20 s.
pub(crate) fn assert_forbids_core_files(pid: u32) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let none = Some(no_core_files());
    loop {
        let found = core_limits(pid);
        if found == none {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "core files of process {pid} are not forbidden: {found:?}"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
