//! Two hosts that race for one permission.

use super::*;

#[derive(Debug, Default)]
struct Races {
    winners: u32,
    orders: u32,
    started: u32,
    interrupted: u32,
    disarmed: u32,
}

/// What one of two that pretend to be the same host got: the order, and whether it may begin.
fn claimant(host: &FakeHost, greeted: Option<&Barrier>, over: &AtomicBool, patience: Duration) -> Result<(u32, u32)> {
    let mut life = Life::new(Faults::default(), 1);
    let wait = || greeted.map(Barrier::wait);
    let Ok(Script::RamOs { token, .. }) = host.script(BOOT) else {
        wait();
        return Ok((0, 0));
    };
    let mut agent = FakeAgent::new(host, BOOT, token, &mut life);
    let hello = agent.hello();
    wait();
    if !matches!(hello, Said::Answer(_)) {
        return Ok((0, 0));
    }
    let until = Instant::now() + patience;
    while Instant::now() < until {
        // Read before asking: whoever was asked to stop asks once more, so that a second order would show.
        let last = over.load(Ordering::Relaxed);
        match agent.next(&[], Duration::from_millis(120)) {
            Said::Answer(Answer::Run { run, order }) if matches!(*order, TaskOrder::WriteImage { .. }) => {
                over.store(true, Ordering::Relaxed);
                let begins = agent.report(&News::Started { run }) == Said::Answer(Received { stop: false });
                return Ok((1, u32::from(begins)));
            }
            Said::Answer(Answer::Run { run, .. }) => anyhow::bail!("another order than the first: {run:?}"),
            Said::Answer(_) | Said::Refused(_) | Said::Nothing => {}
        }
        if last {
            return Ok((0, 0));
        }
    }
    Ok((0, 0))
}

/// How two meet the permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// Both wait in the RAM OS when the person presses the button.
    Waiting,
    /// Armed before; both have greeted the box before one of them asks.
    Greeted,
    /// Armed before; each goes on as fast as it can, so that one may greet the box while the other works.
    Free,
}

/// Arms `host` and lets it race with its twin.
fn race(api: &LocalApi, host: &FakeHost, twin: &FakeHost, site: &Site, start: Start) -> Result<Races> {
    let (greeted, over) = (Barrier::new(3), AtomicBool::new(false));
    let barrier = (start != Start::Free).then_some(&greeted);
    let mut races = Races::default();
    std::thread::scope(|scope| {
        if start != Start::Waiting {
            arm(api, host)?;
        }
        let racers: Vec<_> = [host, twin]
            .into_iter()
            .map(|racer| {
                scope.spawn(|| {
                    site.room.join_current_thread()?;
                    claimant(racer, barrier, &over, Duration::from_secs(5))
                })
            })
            .collect();
        barrier.map(Barrier::wait);
        if start == Start::Waiting {
            arm(api, host)?;
        }
        for racer in racers {
            let (orders, started) = racer.join().map_err(|_| anyhow::anyhow!("a racer panicked"))??;
            races.orders += orders;
            races.started += started;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(races)
}

#[test]
fn of_two_hosts_that_race_for_one_permission_one_wins() -> Result<()> {
    let races = 1000;
    let site = Site::new()?;
    let appliance = site.serve("[install]\nmax_writes = 1000\nmax_writes_per_image = 1000\n")?;
    site.import_image(&appliance)?;
    let api = site::api(&appliance);
    let crowd = site.crowd()?;
    let began = Instant::now();
    let hosts = hosts(&crowd, 1..51)?;
    let twins: Vec<Ipv4Addr> = (1..=50).map(|last| Ipv4Addr::new(10, 77, 2, last)).collect();
    crowd.settle(twins.iter().copied())?;
    let pairs: Vec<(FakeHost, FakeHost)> =
        hosts.into_iter().zip(twins).map(|(host, address)| (host.clone(), FakeHost { address, ..host })).collect();
    side_by_side(&site.room, 16, &pairs, |_, (host, _)| greet(host))?;

    let rounds = races / pairs.len();
    let done = side_by_side(&site.room, 12, &pairs, |at, (host, twin)| {
        let mut sum = Races::default();
        for round in 0..rounds {
            let starts = [Start::Waiting, Start::Greeted, Start::Free];
            let start = *starts.get((at + round) % 3).context("a start")?;
            let one = race(&api, host, twin, &site, start)?;
            let install = install_of(&api, host)?;
            // On a loaded machine an order may come after its racer gave up waiting. Then the other's boot interrupts the
            // install, or the box takes the order for lost; the winner is the one whom the box wrote down.
            let consumed = install.pointer("/state/arm/consumed").is_some_and(|at| !at.is_null());
            ensure!(one.orders <= 1, "{} orders in round {round} of {}: {install}", one.orders, host.mac);
            ensure!(consumed, "nobody won round {round} of {}: {install}", host.mac);
            sum.winners += 1;
            ensure!(one.started <= 1, "{} began: {install}", one.started);
            sum.interrupted += u32::from(phase(&install) == "interrupted");
            sum.orders += one.orders;
            sum.started += one.started;
            steer(&api, host, "cancel")?;
        }
        Ok(sum)
    })?;
    let sum = |of: fn(&Races) -> u32| done.iter().map(of).sum::<u32>();
    let events = api.events("")?;
    // A claim whose order was lost is made anew after a while; that is the same permission.
    let first = |event: &&Value| event.get("attempt").and_then(Value::as_u64) == Some(1);
    let claims = events.iter().filter(|event| text(event, "kind") == "task_claimed").filter(first).count();
    println!(
        "race: {} permissions raced for by two in {:.1} s: {} winners, {} orders received, {} allowed to \
         begin, {} interrupted by the other's boot, {claims} claims recorded",
        rounds * pairs.len(),
        began.elapsed().as_secs_f64(),
        sum(|race| race.winners),
        sum(|race| race.orders),
        sum(|race| race.started),
        sum(|race| race.interrupted),
    );
    assert_eq!(claims, rounds * pairs.len());
    // Most winners hear that they won, or nothing was raced for.
    assert!(usize::try_from(sum(|race| race.orders))? * 2 > claims);

    // Another machine under the armed host's address: it never wins, whether the armed one does or is disarmed.
    let began = Instant::now();
    let rivals: Vec<(FakeHost, FakeHost)> = (1..)
        .zip(&pairs)
        .map(|(number, (host, twin))| {
            let rival = FakeHost::new(70_000 + number, twin.address);
            (host.clone(), FakeHost { mac: host.mac, ..rival })
        })
        .collect();
    let rounds = 4u64;
    let lost = side_by_side(&site.room, 12, &rivals, |_, (host, rival)| {
        let mut sum = Races::default();
        for round in 0..rounds {
            // The address comes home first.
            greet(host)?;
            arm(&api, host)?;
            let over = AtomicBool::new(false);
            let (own, other) = std::thread::scope(|scope| {
                let racer = |who, delay| {
                    let (over, site) = (&over, &site);
                    scope.spawn(move || {
                        site.room.join_current_thread()?;
                        std::thread::sleep(delay);
                        claimant(who, None, over, Duration::from_millis(500))
                    })
                };
                let (own, other) = (racer(host, Duration::ZERO), racer(rival, Duration::from_millis(round * 25)));
                let join = |racer: std::thread::ScopedJoinHandle<'_, Result<(u32, u32)>>| {
                    racer.join().map_err(|_| anyhow::anyhow!("a racer panicked"))?
                };
                Ok::<_, anyhow::Error>((join(own)?, join(other)?))
            })?;
            ensure!(other == (0, 0), "another machine was given the order for {}", host.mac);
            sum.orders += own.0;
            sum.started += own.1;
            let all = api.get("/hosts")?;
            let ours = |shown: &&Value| shown.get("serial").and_then(Value::as_str) == Some(&host.serial);
            let shown = all.as_array().into_iter().flatten().find(ours).context("the armed host is gone")?;
            let install = shown.get("install").cloned().unwrap_or_default();
            if phase(&install) == "cancelled" {
                ensure!(own.0 == 0, "an order although it was disarmed: {install}");
                sum.disarmed += 1;
            } else {
                let _ = api.ask("POST", &format!("/hosts/{}/cancel", text(shown, "id")), None)?;
            }
        }
        Ok(sum)
    })?;
    let sum = |of: fn(&Races) -> u32| lost.iter().map(of).sum::<u32>();
    println!(
        "race: {} permissions raced for by the host and another machine on its address in {:.1} s: the other won 0, \
         the host {}, disarmed {}",
        lost.len() * usize::try_from(rounds)?,
        began.elapsed().as_secs_f64(),
        sum(|race| race.orders),
        sum(|race| race.disarmed),
    );
    assert!(sum(|race| race.disarmed) > 0);
    Ok(())
}
