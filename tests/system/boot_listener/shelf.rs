//! Files stay open for a moment after they were asked for; what they are then may not be what was meant before.

use super::{ask, open, own_file, until};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::PathBuf;
use system_tests::{
    Appliance, Site,
    pxe::web::Reply,
    site::{self, ROOM},
};

/// Of a small and of a large file.
const SIZES: [usize; 2] = [40, 300_000];

fn text(word: &str, size: usize) -> Vec<u8> {
    word.bytes().cycle().take(size).collect()
}

fn path_of(appliance: &Appliance, name: &str) -> PathBuf {
    appliance.state_dir().join("files").join(name)
}

/// Asked for so often that it is open when it is asked for next.
fn asked_often(site: &Site, path: &str) -> Result<Reply> {
    let mut last = ask(site, ROOM, "GET", path)?;
    for _ in 0..3 {
        let again = ask(site, ROOM, "GET", path)?;
        ensure!(
            again.status == 200 && again.body == last.body && again.headers.len() == last.headers.len(),
            "{again:?}"
        );
        ensure!(
            again.header("etag") == last.header("etag") && again.header("server") == Some("rackberry"),
            "{again:?}"
        );
        last = again;
    }
    Ok(last)
}

#[test]
fn a_file_replaced_by_rename_or_written_over_is_served_anew_at_once() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    for (at, size) in SIZES.into_iter().enumerate() {
        let (name, path) = (format!("disk-{at}.img"), format!("/disk-{at}.img"));
        own_file(&appliance, &name, text("first", size))?;
        for round in 0..10 {
            let before = asked_often(&site, &path)?;
            let tag = before.header("etag").context("no tag")?.to_owned();
            let content = text(&format!("round {round}"), size + round);
            if round % 2 == 0 {
                own_file(&appliance, "next", &content)?;
                std::fs::rename(path_of(&appliance, "next"), path_of(&appliance, &name))?;
            } else {
                own_file(&appliance, &name, &content)?;
            }
            site.room.enter(|| {
                let mut line = open(ROOM)?;
                let anew = line.request("GET", &path, &[("If-None-Match", &tag)])?;
                ensure!(anew.status == 200 && anew.body == content, "{path}, round {round}: {:?}", anew.headers);
                ensure!(anew.header("content-length") == Some(&(size + round).to_string()), "{:?}", anew.headers);
                let range = [("Range", "bytes=1-3"), ("If-Range", tag.as_str())];
                ensure!(line.request("GET", &path, &range)?.status == 200, "a range of what it was before");
                Ok(())
            })?;
        }
    }
    Ok(())
}

#[test]
fn a_removed_file_is_gone_at_once_and_its_space_soon() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let image = site.import_image(&appliance)?;
    let digest = image.get("digest").and_then(Value::as_str).context("no digest")?.to_owned();
    for size in SIZES {
        own_file(&appliance, "sub/x.bin", text("x", size))?;
        asked_often(&site, "/sub/x.bin")?;
        std::fs::remove_file(path_of(&appliance, "sub/x.bin"))?;
        for method in ["GET", "HEAD"] {
            assert_eq!(ask(&site, ROOM, method, "/sub/x.bin")?.status, 404);
        }
        own_file(&appliance, "sub/x.bin", text("y", size))?;
        assert_eq!(asked_often(&site, "/sub/x.bin")?.body, text("y", size));
    }
    let path = format!("/images/{digest}");
    asked_often(&site, &path)?;
    site::api(&appliance).call("DELETE", &path, None)?;
    assert_eq!(ask(&site, ROOM, "GET", &path)?.status, 404);
    // Nothing holds on to what was removed, also if nobody asks for anything any more.
    let process = appliance.pid()?.as_raw_nonzero();
    until("removed files are closed", || {
        let open = std::fs::read_dir(format!("/proc/{process}/fd"))?
            .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        let mut kept = open.filter(|path| path.to_string_lossy().ends_with(" (deleted)"));
        Ok(kept.all(|path| {
            !path.starts_with(appliance.state_dir().join("files")) && !path.to_string_lossy().contains(&digest)
        }))
    })
}

#[test]
fn what_takes_a_files_place_is_served_only_if_it_may_be() -> Result<()> {
    let site = Site::new()?;
    std::fs::write(site.share().join("loaders/pxelinux.0"), "the box's copy")?;
    let appliance = site.serve("")?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("secret"), "secret")?;
    for (at, size) in SIZES.into_iter().enumerate() {
        let name = format!("a-{at}/file");
        own_file(&appliance, &name, text("open", size))?;
        let path = format!("/{name}");
        asked_often(&site, &path)?;
        // A link in its place, by rename.
        let link = path_of(&appliance, "link");
        std::os::unix::fs::symlink(folder.path().join("secret"), &link)?;
        std::fs::rename(&link, path_of(&appliance, &name))?;
        assert_eq!(ask(&site, ROOM, "GET", &path)?.status, 404, "a link leads outside");
        std::fs::remove_file(path_of(&appliance, &name))?;
        own_file(&appliance, &name, text("open", size))?;
        asked_often(&site, &path)?;
        // Names that lead to it by a detour find nothing, whether it is open or not.
        for detour in
            [format!("/a-{at}/../a-{at}/file"), format!("/..{path}"), format!("/%2e%2e{path}"), format!("{path}/")]
        {
            let reply = ask(&site, ROOM, "GET", &detour)?;
            assert!(reply.status == 404 || detour.ends_with('/'), "{detour}: {}", reply.status);
        }
        // Its folder in another's place shows only by its path.
        std::fs::rename(path_of(&appliance, &format!("a-{at}")), path_of(&appliance, "moved"))?;
        until("the path is looked up again", || Ok(ask(&site, ROOM, "GET", &path)?.status == 404))?;
        std::fs::remove_dir_all(path_of(&appliance, "moved"))?;
    }
    // A person's own program comes before the box's copy, also right after that one was asked for.
    let copy = asked_often(&site, "/pxelinux.0")?.body;
    own_file(&appliance, "pxelinux.0", "mine")?;
    assert_eq!(ask(&site, ROOM, "GET", "/pxelinux.0")?.body, b"mine");
    std::fs::remove_file(path_of(&appliance, "pxelinux.0"))?;
    assert_eq!(ask(&site, ROOM, "GET", "/pxelinux.0")?.body, copy);
    Ok(())
}

#[test]
fn more_files_than_stay_open_are_served_all_the_same() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    for number in 0..600 {
        own_file(&appliance, &format!("many/{number}"), format!("content of {number}"))?;
    }
    site.room.enter(|| {
        let mut line = open(ROOM)?;
        for _ in 0..2 {
            for number in 0..600 {
                let reply = line.request("GET", &format!("/many/{number}"), &[])?;
                ensure!(reply.text() == format!("content of {number}"), "{number}: {reply:?}");
            }
        }
        Ok(())
    })
}
