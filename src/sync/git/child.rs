//! Runs a program with a deadline, together with every program that it starts. Starts threads.

use std::io;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitId;
use rustix::process::WaitIdOptions;
use tokio_util::sync::CancellationToken;

/// Interval of looking at the deadline.
const LOOK: Duration = Duration::from_millis(50);

/// Bytes kept of what a program says on stderr: the last ones, where its reason is.
const SAID: usize = 16 * 1024;

/// A program that has ended.
pub(super) struct Ended<T> {
    pub(super) status: ExitStatus,
    /// The end of its stderr.
    pub(super) said: String,
    /// The result of `read` on its stdout.
    pub(super) read: io::Result<T>,
}

/// The reason for a program to be ended before its time, or not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot run it: {0}")]
    Start(#[source] io::Error),
    #[error("it did not end within the time that it has")]
    TooLong,
    #[error("stopped")]
    Stopped,
}

/// Runs a program and reads its stdout. When `read` fails, the time is over, or `stop` is
/// cancelled, the program and all that it started are ended.
pub(super) fn run<T>(
    command: &mut Command,
    deadline: Instant,
    stop: &CancellationToken,
    read: impl FnOnce(&mut dyn Read) -> io::Result<T>,
) -> Result<Ended<T>, Error> {
    // A group of its own: ssh, remote helpers and shells belong to it.
    let mut child = command
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::Start)?;
    let group = Pid::from_child(&child);
    let said = listen(&mut child);
    let (running, ended) = mpsc::channel::<()>();
    let stop = stop.clone();
    let watch = thread::spawn(move || {
        loop {
            match ended.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) if stop.is_cancelled() => {
                    return Some(end(group, Error::Stopped));
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => {
                    return Some(end(group, Error::TooLong));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    });
    let mut stdout = child.stdout.take();
    let read = match &mut stdout {
        Some(stdout) => read(stdout),
        None => Err(io::ErrorKind::BrokenPipe.into()),
    };
    if read.is_err() {
        kill(group);
    }
    drop(stdout);
    // Not reaped yet, so that nobody else can have its id, which is also the group's.
    while let Err(rustix::io::Errno::INTR) =
        rustix::process::waitid(WaitId::Pid(group), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
    {
    }
    drop(running);
    let cut_off = watch.join().unwrap_or(Some(Error::Stopped));
    // What it may have left behind.
    kill(group);
    let status = child.wait().map_err(Error::Start)?;
    // Whoever left the group could keep the pipe open.
    let said = said.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    match cut_off {
        Some(why) => Err(why),
        None => Ok(Ended { status, said, read }),
    }
}

fn end(group: Pid, why: Error) -> Error {
    kill(group);
    why
}

fn kill(group: Pid) {
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
}

/// Reads stderr to its end, so that the program never waits, and keeps the last part.
fn listen(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let stderr = child.stderr.take();
    thread::spawn(move || {
        let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
        let Some(mut stderr) = stderr else { return };
        while let Ok(count @ 1..) = stderr.read(&mut buffer) {
            kept.extend_from_slice(&buffer[..count]);
            let superfluous = kept.len().saturating_sub(SAID);
            kept.drain(..superfluous);
        }
        let _ = sender.send(String::from_utf8_lossy(&kept).into_owned());
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(
        script: &str,
        patience: Duration,
        stop: &CancellationToken,
    ) -> Result<Ended<String>, Error> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null());
        run(&mut command, Instant::now() + patience, stop, |stdout| {
            let mut text = String::new();
            stdout.take(100).read_to_string(&mut text).map(|_| text)
        })
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_program_that_ends_is_heard() {
        let ended =
            shell("echo out; echo err >&2; exit 3", LONG, &CancellationToken::new()).unwrap();
        assert_eq!((ended.status.code(), &*ended.said), (Some(3), "err\n"));
        assert_eq!(ended.read.unwrap(), "out\n");
        assert!(matches!(
            run(
                &mut Command::new("/no/such/program"),
                Instant::now() + LONG,
                &CancellationToken::new(),
                |_| Ok(())
            ),
            Err(Error::Start(_))
        ));
    }

    /// A helper that was left behind would hold the connection, and the next run would meet it.
    #[test]
    fn whatever_it_started_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let alive = |name: &str| {
            let pid = std::fs::read_to_string(dir.path().join(name)).unwrap();
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            stat.is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
        };
        let script = |name: &str, rest: &str| {
            format!(
                "sleep 1000 >/dev/null 2>&1 & echo $! > {}/{name}; {rest}",
                dir.path().display()
            )
        };
        let gone = |name: &str| {
            // The kernel ends it a moment after it was told to.
            let until = Instant::now() + LONG;
            while alive(name) && Instant::now() < until {
                thread::sleep(Duration::from_millis(5));
            }
            assert!(!alive(name), "{name} still runs");
        };
        let stop = CancellationToken::new();
        let late = shell(&script("late", "wait"), Duration::from_millis(300), &stop);
        assert!(matches!(late, Err(Error::TooLong)));
        gone("late");
        shell(&script("left", "exec >&- 2>&-; exit 0"), LONG, &stop).unwrap();
        gone("left");
        stop.cancel();
        let stopped = shell(&script("stopped", "wait"), LONG, &stop);
        assert!(matches!(stopped, Err(Error::Stopped)));
    }

    #[test]
    fn what_nobody_wants_to_read_ends_it() {
        let ended = shell("yes", LONG, &CancellationToken::new()).unwrap();
        assert!(!ended.status.success());
        assert_eq!(ended.read.unwrap().len(), 100);
        let loud =
            shell("yes | head -c 1000000 >&2; echo the end >&2", LONG, &CancellationToken::new())
                .unwrap();
        assert!(loud.said.len() <= SAID && loud.said.ends_with("the end\n"));
    }
}
