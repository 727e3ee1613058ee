//! The machine of a measurement: processor, kernel, and versions of all programs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use serde_json::json;

use crate::options::Options;
use crate::peers::gunicorn;
use crate::peers::nginx;
use crate::servers::program;

pub(crate) fn json(options: &Options) -> Value {
    let (gunicorn, python) = gunicorn().unzip();
    let flask =
        "import flask, sys; print('Flask', flask.__version__, 'Python', sys.version.split()[0])";
    json!({
        "processor": processor(),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": line("/proc/sys/kernel/osrelease"),
        "load_average_before": line("/proc/loadavg"),
        "versions": {
            "farmgate": version(Some(options.farmgate.clone()), &["--version"]),
            "nginx": version(nginx(), &["-v"]),
            "caddy": version(program("FARMGATE_CADDY", "caddy"), &["version"]),
            "apache": version(program("FARMGATE_APACHE", "apache2"), &["-v"]),
            "gunicorn": version(gunicorn, &["--version"]),
            "flask": version(python, &["-c", flask]),
            "strace": version(program("FARMGATE_STRACE", "strace"), &["-V"]),
        },
    })
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name"));
    name.unwrap_or_default().trim_start_matches([' ', '\t', ':']).to_owned()
}

/// The first line that a program says of itself.
fn version(program: Option<PathBuf>, args: &[&str]) -> Option<String> {
    let output = Command::new(program?).args(args).output().ok()?;
    // nginx says it on standard error.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().next().map(|line| line.trim().to_owned())
}
