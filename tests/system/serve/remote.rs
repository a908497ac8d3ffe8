//! The command line from elsewhere: by the page's address and a token.

use crate::{list, refusal, said, text};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    process::{Command, Output, Stdio},
};
use system_tests::{
    Appliance, Site, appliance,
    site::{self, ROOM, api, cli, cli_json},
};

/// Runs a command by URL; the state folder is one that no box has.
fn remote(url: &str, token: Option<&str>, arguments: &[&str], input: &str) -> Result<Output> {
    let mut command = Command::new(appliance::binary()?);
    command.args(["--state-dir", "/no/such/dir", "--url", url]).args(arguments);
    command.env_remove("RACKBERRY_TOKEN").env_remove("RACKBERRY_URL");
    if let Some(token) = token {
        command.env("RACKBERRY_TOKEN", token);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no standard input")?.write_all(input.as_bytes())?;
    Ok(child.wait_with_output()?)
}

fn token(appliance: &Appliance, name: &str, role: &str) -> Result<String> {
    let made = cli_json(appliance, &["token", "add", name, "--role", role])?;
    Ok(text(&made, "token").to_owned())
}

#[test]
fn every_command_works_by_url_as_it_does_on_the_box() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let (url, token) = (appliance.url(""), token(&appliance, "laptop", "admin")?);
    let told = |arguments: &[&str], input: &str| -> Result<Value> {
        let output = remote(&url, Some(&token), &[&["--json"], arguments].concat(), input)?;
        ensure!(output.status.success(), "{arguments:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout).with_context(|| format!("{arguments:?} printed {}", said(&output)))
    };
    let added = told(&["host", "add", "52:54:00:00:00:01", "node"], "")?;
    assert_eq!(list(&added, "name"), ["node"]);
    assert_eq!(text(&told(&["host", "set", "node", "name=web"], "")?, "name"), "web");
    assert_eq!(list(&told(&["host", "list"], "")?, "name"), list(&cli_json(&appliance, &["host", "list"])?, "name"));

    // Some megabytes, so that they come in pieces.
    let image = site.scratch().join("big.raw");
    std::fs::write(&image, site::disk_image(5 << 20))?;
    let image = image.to_str().context("no UTF-8")?;
    assert_eq!(told(&["image", "import", image, "--name", "debian-13"], "")?.get("size_bytes"), Some(&json!(5 << 20)));
    assert_eq!(text(&told(&["image", "verify", "debian-13"], "")?, "name"), "debian-13");
    assert_eq!(text(&told(&["install", "web", "debian-13"], "")?, "by"), "token laptop");
    told(&["cancel", "web"], "")?;
    assert!(told(&["profile", "render", "web", "debian-13"], "")?.get("files").is_some());
    assert_eq!(told(&["alarm", "list"], "")?, json!([]));

    assert_eq!(
        text(&told(&["user", "add", "anna", "--role", "viewer"], "a long enough password\n")?, "role"),
        "viewer"
    );
    assert_eq!(text(&told(&["user", "role", "anna", "admin"], "")?, "role"), "admin");
    told(&["user", "passwd", "anna"], "another long password\n")?;
    assert_eq!(list(&told(&["user", "list"], "")?, "name"), ["anna"]);
    let taken = remote(&url, Some(&token), &["user", "add", "anna"], "a long enough password\n")?;
    assert!(refusal(&taken)?.contains("exists already"), "{}", said(&taken));
    let last = remote(&url, Some(&token), &["user", "rm", "anna"], "")?;
    assert!(refusal(&last)?.contains("last person"), "{}", said(&last));

    let backup = site.scratch().join("remote.db");
    let told_backup = told(&["backup", backup.to_str().context("no UTF-8")?], "")?;
    assert_eq!(told_backup.get("bytes"), Some(&json!(std::fs::metadata(&backup)?.len())));
    assert!(std::fs::read(&backup)?.starts_with(b"SQLite format 3\0"));
    let aside = std::fs::read_dir(appliance.state_dir().join("images/incoming"))?.count();
    assert_eq!(aside, 0, "the box keeps no copy of its own");

    let status = told(&["status"], "")?;
    assert_eq!(status.get("hosts"), Some(&json!(1)));
    let events = remote(&url, Some(&token), &["events"], "")?;
    assert!(said(&events).contains("token_added"), "{}", said(&events));
    let mine = api(&appliance).events("web")?;
    let actors: Vec<&Value> = mine.iter().filter_map(|event| event.get("actor")).collect();
    assert!(actors.contains(&&json!({ "by": "user", "name": "token laptop" })), "{actors:?}");

    // From a file, as a service manager hands secrets over; and in tables for people.
    let file = site.scratch().join("token");
    std::fs::write(&file, format!("{token}\n"))?;
    let by_file = ["--token-file", file.to_str().context("no UTF-8")?, "token", "list"];
    let tokens = said(&remote(&url, None, &by_file, "")?);
    assert!(tokens.starts_with("NAME") && tokens.contains("laptop") && tokens.contains("admin"), "{tokens}");
    assert!(!tokens.contains(&token), "{tokens}");
    Ok(())
}

#[test]
fn a_viewers_token_shows_and_a_removed_one_opens_nothing() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let (url, token) = (appliance.url(""), token(&appliance, "screen", "viewer")?);
    assert!(remote(&url, Some(&token), &["host", "list"], "")?.status.success());
    for refused in [
        &["host", "add", "52:54:00:00:00:01"][..],
        &["user", "list"],
        &["token", "add", "mine"],
        &["backup", "/no/such/dir/file"],
    ] {
        let words = refusal(&remote(&url, Some(&token), refused, "")?)?;
        assert!(words.contains("for admins"), "{refused:?}: {words}");
    }
    assert_eq!(cli_json(&appliance, &["host", "list"])?, json!([]));
    cli_json(&appliance, &["token", "rm", "screen"])?;
    let words = refusal(&remote(&url, Some(&token), &["host", "list"], "")?)?;
    assert!(words.contains("refused the token") && words.contains("removed"), "{words}");
    refusal(&cli(&appliance, &["token", "rm", "screen"])?)?;
    Ok(())
}

/// Something that is no box, and says this to whoever connects.
fn other_server(says: &'static [u8]) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().take(1) {
            let Ok(mut stream) = stream else { return };
            // Once the request is there, so that the answer is one to it.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(says);
        }
    });
    Ok(url)
}

#[test]
fn what_stands_in_the_way_is_named() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let url = appliance.url("");
    let words = refusal(&remote(&url, None, &["host", "list"], "")?)?;
    assert!(words.contains("wants a token") && words.contains("rackberry token add"), "{words}");
    let words = refusal(&remote(&url, Some("rackberry-0"), &["host", "list"], "")?)?;
    assert!(words.contains("refused the token"), "{words}");
    let image = site.scratch().join("big.raw");
    std::fs::write(&image, vec![1; 8 << 20])?;
    let import = ["image", "import", image.to_str().context("no UTF-8")?];
    let words = refusal(&remote(&url, Some("rackberry-0"), &import, "")?)?;
    assert!(words.contains("refused the token"), "before it is sent: {words}");

    let closed = TcpListener::bind("127.0.0.1:0")?;
    let nobody = format!("http://{}", closed.local_addr()?);
    drop(closed);
    let words = refusal(&remote(&nobody, None, &["status"], "")?)?;
    assert!(words.contains("cannot reach") && words.contains(&nobody) && words.contains("8000"), "{words}");
    for says in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]"[..],
        b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ] {
        let words = refusal(&remote(&other_server(says)?, Some("rackberry-0"), &["status"], "")?)?;
        assert!(words.contains("no Rackberry"), "{:?}: {words}", String::from_utf8_lossy(says));
    }
    for (bad, why) in [("https://127.0.0.1:8000", "not supported yet"), ("127.0.0.1:8000", "http://192.168.77.1:8000")]
    {
        let output = remote(bad, None, &["status"], "")?;
        assert_eq!(output.status.code(), Some(2), "{bad}: {}", said(&output));
        assert!(said(&output).contains(why), "{bad}: {}", said(&output));
        let output = remote(bad, None, &["--json", "status"], "")?;
        assert!(serde_json::from_slice::<Value>(&output.stdout)?.get("error").is_some());
    }
    // The port of the machines, which is the one that a URL without a port means.
    let mut command = site.room.command(appliance::binary()?.to_str().context("no UTF-8")?);
    let output = command.args(["--url", "http://10.77.0.1", "status"]).output()?;
    let words = refusal(&output)?;
    assert!(words.contains("on another port, usually 8000"), "from {ROOM}: {words}");
    Ok(())
}
