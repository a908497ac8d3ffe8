//! A disk that got a system since it was looked at.

use super::*;

/// The same machine, after somebody put a system on its disk.
fn used(host: &FakeHost) -> FakeHost {
    let mut used = host.clone();
    for disk in &mut used.facts.disks {
        disk.content.blank = false;
        disk.content.system = Some("Windows".into());
    }
    used
}

#[test]
fn a_disk_that_nobody_saw_full_is_not_erased() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    site.import_image(&appliance)?;
    let api = site::api(&appliance);
    let crowd = site.crowd()?;
    let hosts = hosts(&crowd, 1..5)?;
    let [empty_then, unseen, confirmed, blank] = hosts.as_slice() else { anyhow::bail!("four hosts were asked for") };
    site.room.enter(|| greet(empty_then))?;
    let list: Vec<String> = [unseen, confirmed, blank].iter().map(|host| host.mac.to_string()).collect();
    api.call("POST", "/hosts", Some(&json!({ "list": list.join("\n") })))?;
    for (host, erase) in [(empty_then, false), (unseen, false), (confirmed, true), (blank, false)] {
        let body = json!({ "profile": "debian-13", "erase": erase });
        api.call("POST", &format!("/hosts/{}/install", host.mac.hyphens()), Some(&body))?;
    }
    let order = |host: &FakeHost| -> Result<bool> {
        site.room.enter(|| {
            let mut life = Life::new(Faults::default(), 1);
            let mut agent = host.boot(BOOT, &mut life)?;
            ensure!(matches!(agent.hello(), Said::Answer(_)), "hello of {}", host.mac);
            let until = Instant::now() + PATIENCE;
            while Instant::now() < until {
                if let Said::Answer(Answer::Run { order, .. }) = agent.next(&[], MOMENT) {
                    return Ok(matches!(*order, TaskOrder::WriteImage { .. }));
                }
                if phase(&install_of(&api, host)?) == "failed" {
                    return Ok(false);
                }
            }
            anyhow::bail!("neither an order nor a refusal for {}", host.mac)
        })
    };
    for host in [empty_then, unseen] {
        ensure!(!order(&used(host))?, "{} was erased", host.mac);
        let install = install_of(&api, host)?;
        let reason = install.pointer("/state/reason").and_then(Value::as_str).unwrap_or_default();
        assert!(reason.contains("holds Windows, and nobody confirmed"), "{reason}");
        assert!(reason.ends_with("Nothing was written."), "{reason}");
    }
    assert!(order(&used(confirmed))?, "a person confirmed it");
    assert!(order(blank)?, "an empty disk needs no confirmation");
    Ok(())
}
