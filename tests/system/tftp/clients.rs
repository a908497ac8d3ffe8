//! The clients: four real programs and our own.

use anyhow::{Context, Result, bail};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use system_tests::Netns;
use system_tests::pxe::tftp::{self, Fetched, Options};
use system_tests::site::BOX;

/// Far beyond what any of them needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    Own,
    Atftp,
    TftpHpa,
    Curl,
    Busybox,
}

impl Client {
    pub const ALL: [Client; 5] = [Client::Own, Client::Atftp, Client::TftpHpa, Client::Curl, Client::Busybox];

    pub fn name(self) -> &'static str {
        match self {
            Client::Own => "own",
            Client::Atftp => "atftp",
            Client::TftpHpa => "tftp-hpa",
            Client::Curl => "curl",
            Client::Busybox => "busybox",
        }
    }

    /// Whether it speaks these terms: only two of them know windows, and tftp-hpa's knows no options at all.
    pub fn can(self, blksize: u16, window: u16) -> bool {
        match self {
            Client::Own | Client::Atftp => true,
            Client::Curl | Client::Busybox => window == 1,
            Client::TftpHpa => window == 1 && blksize == 512,
        }
    }

    /// Fetches a file of the box.
    pub fn fetch(self, ns: &Netns, name: &str, blksize: u16, window: u16, output: &Path) -> Result<Vec<u8>> {
        self.fetch_from(ns, BOX, name, blksize, window, output)
    }

    /// Fetches a file of the server at an address.
    pub fn fetch_from(
        self,
        ns: &Netns,
        server: Ipv4Addr,
        name: &str,
        blksize: u16,
        window: u16,
        output: &Path,
    ) -> Result<Vec<u8>> {
        let _absent = std::fs::remove_file(output);
        let server = server.to_string();
        let (size, windowsize) = (blksize.to_string(), format!("windowsize {window}"));
        let mut command = match self {
            Client::Own => {
                let asked = |value, default| (value != default).then_some(value);
                let options =
                    Options { blksize: asked(blksize, 512), windowsize: asked(window, 1), ..Options::default() };
                return Ok(own(ns, name, &options)?.data);
            }
            Client::Atftp => {
                let mut command = ns.command("atftp");
                command.args(["--option", &format!("blksize {size}"), "--option", "tsize 0"]);
                if window > 1 {
                    command.args(["--option", &windowsize]);
                }
                command.args(["--get", "--remote-file", name, "--local-file"]).arg(output).args([&server, "69"]);
                command
            }
            Client::TftpHpa => {
                let mut command = ns.command("tftp");
                command.args(["-m", "binary", &server, "69", "-c", "get", name]).arg(output);
                command
            }
            Client::Curl => {
                let mut command = ns.command("curl");
                let blocks: &[&str] = if blksize == 512 { &["--tftp-no-options"] } else { &["--tftp-blksize", &size] };
                command.args(["--silent", "--show-error", "--output"]).arg(output).args(blocks);
                command.arg(format!("tftp://{server}/{name}"));
                command
            }
            Client::Busybox => {
                let mut command = ns.command("busybox");
                command.args(["tftp", "-g", "-r", name, "-l"]).arg(output).args(["-b", &size, &server]);
                command
            }
        };
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", self.name()))?;
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > until => {
                    child.kill()?;
                    bail!("{} did not end", self.name());
                }
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        match std::fs::read(output) {
            Ok(bytes) if status.success() => Ok(bytes),
            // curl makes no file for no bytes.
            Err(_) if status.success() => Ok(Vec::new()),
            _ => bail!("{}: {status}", self.name()),
        }
    }
}

/// Fetches a file of the box by our own client.
pub fn own(ns: &Netns, name: &str, options: &Options) -> Result<Fetched> {
    ns.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        // A window of 64 blocks of 8,192 bytes fits in; else each window loses its end, and the time goes into waiting.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 1 << 21)?;
        tftp::fetch(socket, super::SERVER, name, options)
    })
}
