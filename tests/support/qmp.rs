//! QEMU's control socket (QMP): one JSON object a line, a greeting first, events mixed in with the answers.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// A connection that is ready for commands.
pub struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects once the machine has made its socket, at most 60 s after the call.
    ///
    /// # Errors
    /// When no machine listens in time or it does not speak QMP.
    pub fn connect(path: &Path) -> Result<Self> {
        let until = Instant::now() + Duration::from_secs(60);
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() >= until => {
                    return Err(error).with_context(|| format!("connect to {}", path.display()));
                }
                // QEMU makes the socket while it starts and has no other way to say so.
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        let mut qmp = Self { reader: BufReader::new(stream) };
        let greeting = qmp.line().context("read the greeting of QMP")?;
        if greeting.get("QMP").is_none() {
            bail!("{} greets with {greeting}, which is not QMP", path.display());
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and returns its answer; events that come in between are passed over.
    ///
    /// # Errors
    /// When the machine refuses, is gone, or stays silent for 120 s.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.reader.get_mut(), "{request}").with_context(|| format!("send {command}"))?;
        loop {
            let mut answer = self.line().with_context(|| format!("wait for the answer to {command}"))?;
            if let Some(error) = answer.get("error") {
                bail!("{command}: {error}");
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("the machine closed its control socket");
        }
        Ok(serde_json::from_str(&line)?)
    }
}
