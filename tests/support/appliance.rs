//! The program under test: started in a namespace, killed and started again on one state directory.

use crate::console::Console;
use crate::leftovers;
use crate::netns::Netns;
use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use ureq::http;

const READY: &str = "rackberry is ready";
const READY_WITHIN: Duration = Duration::from_secs(60);
const CODE: &str = "one-time code";

/// A `rackberry serve` whose page and API answer on a loopback port of this machine, and all else in its namespace.
pub struct Appliance {
    binary: PathBuf,
    namespace: String,
    dir: tempfile::TempDir,
    environment: Vec<(String, String)>,
    page: TcpListener,
    page_address: SocketAddr,
    child: Option<Child>,
    console: Console,
    client: ureq::Agent,
    cookies: Mutex<BTreeMap<String, String>>,
    token: Mutex<Option<String>>,
}

/// An answer of the page or API, whatever its status.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Header names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body's bytes.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first header of this (lower-case) name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none; the message shows it.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("{} is no JSON", self.text()))
    }

    /// This answer if its status is `wanted`.
    ///
    /// # Errors
    /// With the body, when it is another.
    pub fn expect_status(self, wanted: u16) -> Result<Self> {
        if self.status != wanted {
            bail!("status {} instead of {wanted}: {}", self.status, self.text());
        }
        Ok(self)
    }
}

/// Where the program lies: `RACKBERRY_BIN`, else beside the running test in cargo's target folder.
///
/// # Errors
/// When it has not been built.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("RACKBERRY_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let found = test.ancestors().skip(1).take(3).map(|dir| dir.join("rackberry")).find(|path| path.is_file());
    found.ok_or_else(|| {
        anyhow!("no rackberry beside {}: cargo build -p rackberry, or set RACKBERRY_BIN", test.display())
    })
}

impl Appliance {
    /// Starts with this configuration on a new state directory and waits until it says that it is ready.
    ///
    /// # Errors
    /// When the program is not built or does not become ready; the error shows its last lines.
    pub fn start(ns: &Netns, config: &str) -> Result<Self> {
        Self::start_with(&binary()?, ns, config, &[])
    }

    /// As [`Appliance::start`], with another program and more environment.
    ///
    /// # Errors
    /// As [`Appliance::start`].
    pub fn start_with(binary: &Path, ns: &Netns, config: &str, environment: &[(&str, &str)]) -> Result<Self> {
        let dir = leftovers::folder("state")?;
        std::fs::write(dir.path().join("rackberry.toml"), config)?;
        std::fs::create_dir(dir.path().join("state"))?;
        let page = TcpListener::bind("127.0.0.1:0").context("open the page's port")?;
        let client = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .new_agent();
        let mut appliance = Self {
            binary: binary.to_owned(),
            namespace: ns.name().to_owned(),
            environment: environment.iter().map(|&(k, v)| (k.into(), v.into())).collect(),
            page_address: page.local_addr()?,
            dir,
            page,
            child: None,
            console: Console::new(),
            client,
            cookies: Mutex::default(),
            token: Mutex::default(),
        };
        appliance.launch()?;
        Ok(appliance)
    }

    /// The state directory, which outlives kills and restarts.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The configuration file, read again at the next start.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.dir.path().join("rackberry.toml")
    }

    /// What it printed, over all its starts.
    #[must_use]
    pub fn log(&self) -> &Console {
        &self.console
    }

    /// Its process id.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pid(&self) -> Result<Pid> {
        let child = self.child.as_ref().context("the appliance is not running")?;
        i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("the appliance has no process id")
    }

    /// The address of a path on its page or API: `url("/api/v1/hosts")`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.page_address)
    }

    /// Ends it as a power cut would (SIGKILL).
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().context("wait for the appliance's end")?;
        }
        Ok(())
    }

    /// Asks it to stop (SIGTERM) and waits.
    ///
    /// # Errors
    /// When it still runs after `timeout`; it is killed then.
    pub fn stop(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let pid = self.pid()?;
        rustix::process::kill_process(pid, Signal::TERM).context("send SIGTERM")?;
        let until = Instant::now() + timeout;
        while Instant::now() < until {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().transpose()).transpose()? {
                self.child = None;
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill()?;
        bail!("the appliance did not stop within {timeout:?}")
    }

    /// Starts it again on the same state after [`Appliance::kill`] or [`Appliance::stop`] (killing it first if it runs).
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.launch()
    }

    fn launch(&mut self) -> Result<()> {
        let mark = self.console.mark();
        // The page's socket was made outside the namespace and is handed over as systemd does: descriptor 3, and the
        // receiver's own process id, which only the process itself can know before it executes the program.
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, "sh", "-c"]);
        command.args(["exec 3<&0 0</dev/null; LISTEN_PID=$$ exec \"$@\"", "sh"]);
        command.arg(&self.binary).arg("serve");
        command.arg("--config").arg(self.config_file()).arg("--state-dir").arg(self.state_dir());
        command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "page");
        command.envs(self.environment.iter().map(|(k, v)| (k, v)));
        let page = self.page.try_clone().context("share the page's socket")?;
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(page))).stdout(Stdio::piped()).stderr(Stdio::piped());
        leftovers::end_with_us(&mut command);
        let mut child = command.spawn().with_context(|| format!("start {}", self.binary.display()))?;
        let copy = self.dir.path().join("log");
        if let Some(output) = child.stdout.take() {
            self.console.follow(output, Some(&copy))?;
        }
        if let Some(output) = child.stderr.take() {
            self.console.follow(output, Some(&copy))?;
        }
        self.child = Some(child);
        self.console.wait_after(mark, READY, READY_WITHIN).map(drop).context("wait for the appliance to be ready")
    }

    /// The code for the first login that it printed last.
    ///
    /// # Errors
    /// When it prints none within 30 s.
    pub fn one_time_code(&self) -> Result<String> {
        self.console.wait_for(CODE, Duration::from_secs(30))?;
        let text = self.console.text();
        let after = text.rsplit(CODE).next().and_then(|rest| rest.lines().next()).unwrap_or_default();
        let words = after.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        // The code is the first word in capitals and digits: 8 characters, perhaps with a dash between.
        let is_code = |word: &&str| {
            let letters = word.chars().filter(|c| *c != '-').count();
            letters >= 6 && word.chars().all(|c| c == '-' || c.is_ascii_uppercase() || c.is_ascii_digit())
        };
        words.into_iter().find(is_code).map(str::to_owned).with_context(|| format!("no code in {after:?}"))
    }

    /// Sends this bearer token with every request from now on.
    pub fn set_token(&self, token: Option<&str>) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token.map(str::to_owned);
    }

    /// The value of a cookie that it set.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Forgets all cookies, as a new browser.
    pub fn forget_cookies(&self) {
        self.cookies.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// `GET` on the page or API, with cookies and token.
    ///
    /// # Errors
    /// When no answer comes; any status is an answer.
    pub fn get(&self, path: &str) -> Result<Reply> {
        self.request("GET", path, &[], &[])
    }

    /// `POST` of JSON.
    ///
    /// # Errors
    /// As [`Appliance::get`].
    pub fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.send_json("POST", path, body)
    }

    /// Any method with a JSON body.
    ///
    /// # Errors
    /// As [`Appliance::get`].
    pub fn send_json(&self, method: &str, path: &str, body: &Value) -> Result<Reply> {
        self.request(method, path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// `POST` of a form, as a page's button does; the origin is the page's own.
    ///
    /// # Errors
    /// As [`Appliance::get`].
    pub fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Result<Reply> {
        let pairs: Vec<String> = fields.iter().map(|(k, v)| format!("{}={}", form_encode(k), form_encode(v))).collect();
        let origin = self.url("");
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("origin", origin.as_str())];
        self.request("POST", path, &headers, pairs.join("&").as_bytes())
    }

    /// Any request; redirects are answers, not followed.
    ///
    /// # Errors
    /// As [`Appliance::get`].
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply> {
        let url = self.url(path);
        let mut request = http::Request::builder().method(method).uri(&url);
        let cookies: Vec<String> = {
            let known = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
            known.iter().map(|(name, value)| format!("{name}={value}")).collect()
        };
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        if let Some(token) = &*self.token.lock().unwrap_or_else(PoisonError::into_inner) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = if matches!(method, "POST" | "PUT" | "PATCH") {
            self.client.run(request.body(body)?)
        } else {
            self.client.run(request.body(())?)
        };
        let mut answer = answer.with_context(|| format!("{method} {url}"))?;
        let headers: Vec<(String, String)> = answer
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        self.learn_cookies(&headers);
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(1 << 30).read_to_vec();
        Ok(Reply { status, headers, body: body.with_context(|| format!("read the body of {method} {url}"))? })
    }

    fn learn_cookies(&self, headers: &[(String, String)]) {
        let mut known = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, value) in headers.iter().filter(|(name, _)| name == "set-cookie") {
            let pair = value.split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                if value.is_empty() {
                    known.remove(name.trim());
                } else {
                    known.insert(name.trim().to_owned(), value.trim().to_owned());
                }
            }
        }
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        let _ = self.kill();
        if std::thread::panicking() {
            eprintln!("--- the appliance's log ---\n{}", self.console.text());
        }
    }
}

fn form_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
