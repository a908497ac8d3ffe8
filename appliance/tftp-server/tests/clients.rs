//! Real clients, as far as they are installed: each fetches files at every awkward size and is told of a missing one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of these tests stand outside test functions"
)]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use support::{Files, Running, noise};
use tftp_server::Settings;

const SIZES: [usize; 8] = [0, 1, 511, 512, 513, 1428 * 16, 100_000, 3_000_000];

#[tokio::test(flavor = "multi_thread")]
async fn atftp_gets_whole_files() {
    for (options, terms) in [
        (&[][..], (512, 1)),
        (&["blksize 1428", "tsize 0"], (1428, 1)),
        (&["blksize 1428", "windowsize 16"], (1428, 16)),
        (&["windowsize 4", "timeout 2"], (512, 4)),
    ] {
        let agreed = interoperates("atftp", &["--help"], |command, run| {
            for option in options {
                command.args(["--option", option]);
            }
            command.args(["--get", "--remote-file", run.name, "--local-file"]).arg(run.output);
            command.args(["127.0.0.1", run.port]);
        })
        .await;
        assert!(agreed.is_none_or(|agreed| agreed == terms), "{agreed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tftp_hpa_gets_whole_files() {
    interoperates("tftp", &["-V"], |command, run| {
        command.args(["-m", "binary", "127.0.0.1", run.port, "-c", "get", run.name]).arg(run.output);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_gets_whole_files() {
    for options in [&[][..], &["--tftp-no-options"], &["--tftp-blksize", "1428"], &["--tftp-blksize", "65464"]] {
        // curl calls the true size 0 in an OACK invalid (its lib/tftp.c); RFC 2349 leaves no other answer.
        let sizes = if options == ["--tftp-no-options"] { &SIZES } else { &SIZES[1..] };
        interoperates_at(sizes, "curl", &["--version"], |command, run| {
            let url = format!("tftp://127.0.0.1:{}/{}", run.port, run.name);
            command.args(["--silent", "--output"]).arg(run.output).args(options).arg(url);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn busybox_tftp_gets_whole_files() {
    for options in [&[][..], &["-b", "1428"], &["-b", "65464"]] {
        interoperates("busybox", &["tftp", "--help"], |command, run| {
            command.args(["tftp", "-g", "-r", run.name, "-l"]).arg(run.output).args(options);
            command.args(["127.0.0.1", run.port]);
        })
        .await;
    }
}

/// One call of a client.
struct Run<'a> {
    name: &'a str,
    output: &'a Path,
    port: &'a str,
}

/// Fetches all sizes; returns the blksize and windowsize of the last, or `None` without the client.
async fn interoperates(
    program: &str,
    probe: &[&str],
    arguments: impl Fn(&mut Command, &Run<'_>),
) -> Option<(u16, u16)> {
    interoperates_at(&SIZES, program, probe, arguments).await
}

async fn interoperates_at(
    sizes: &[usize],
    program: &str,
    probe: &[&str],
    arguments: impl Fn(&mut Command, &Run<'_>),
) -> Option<(u16, u16)> {
    if Command::new(program).args(probe).stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        println!("not run: no {program}");
        return None;
    }
    let mut files = Files::default();
    for &size in sizes {
        files.disk(&format!("file-{size}"), &noise(size));
    }
    // The clients ask within milliseconds of each other and some leave before the last acknowledgement arrives.
    let server = Running::start(files, Settings { max_sessions_per_host: 64, ..Settings::default() });
    let port = server.address.port().to_string();
    let directory = tempfile::tempdir().unwrap();
    let fetch = |name: &str| {
        let output = directory.path().join(name);
        let mut command = Command::new(program);
        arguments(&mut command, &Run { name, output: &output, port: &port });
        let output_of_client = command.output().unwrap();
        (output_of_client, std::fs::read(output))
    };
    for &size in sizes {
        let (client, got) = fetch(&format!("file-{size}"));
        assert!(client.status.success(), "{program}, {size} bytes: {client:?}");
        // curl creates no file for no bytes.
        let got = if size == 0 { got.unwrap_or_default() } else { got.unwrap() };
        assert!(got == noise(size), "{program}: {size} bytes came as {}", got.len());
    }
    let (_, got) = fetch("missing");
    assert!(got.map_or(true, |bytes| bytes.is_empty()), "{program} got a file that is not there");
    let log = server.stop().await;
    assert_eq!(log.outcomes().len(), sizes.len());
    assert!(log.outcomes().iter().all(|outcome| outcome.is_normal()), "{program}: {:?}", log.outcomes());
    assert_eq!(log.refusals().len(), 1);
    log.terms()
}
