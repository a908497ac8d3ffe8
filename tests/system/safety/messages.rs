//! Messages that are lost or come twice.

use super::*;

#[test]
fn lost_and_doubled_replies_lose_no_install_and_erase_nothing_twice() -> Result<()> {
    let (seed, wanted) = (Dice::seed(), 200);
    println!("replies: seed {seed}");
    let site = Site::new()?;
    let appliance = site.serve("[install]\nmax_writes = 1000\nmax_writes_per_image = 1000\n")?;
    site.import_image(&appliance)?;
    let api = site::api(&appliance);
    let crowd = site.crowd()?;
    let hosts = hosts(&crowd, 1..101)?;
    side_by_side(&site.room, THREADS, &hosts, |_, host| greet(host))?;
    let began = Instant::now();
    let (mut arming, mut lives) = (0, Vec::new());
    while arming < wanted {
        let round = side_by_side(&site.room, 50, &hosts, |at, host| {
            // Exactly where the permission is used: the order's reply is lost, or its request comes twice.
            let mut life = Life::new(Faults::default(), seed ^ u64::try_from(at)?);
            let install = arm(&api, host)?;
            let mut agent = host.boot(BOOT, &mut life)?;
            ensure!(matches!(agent.hello(), Said::Answer(_)), "hello");
            let (lose, double) = if at % 2 == 0 { (100.0, 0.0) } else { (0.0, 100.0) };
            agent.life().faults = Faults { lose, double, die: 0.0 };
            let _ = agent.next(&[], MOMENT);
            // The rest of its life is as bad as a rack gets.
            agent.life().faults = Faults { lose: 15.0, double: 15.0, die: 0.0 };
            let until = Instant::now() + Duration::from_secs(60);
            if agent.work(until)? == Leave::Restart {
                host.live(BOOT, &mut life, until)?;
            }
            let runs: Vec<&Run> = life.erased.iter().filter(|run| run.install.to_string() == install).collect();
            ensure!(runs.len() == 1, "{} was erased {} times: {life:?}", host.mac, runs.len());
            let shown = install_of(&api, host)?;
            ensure!(phase(&shown) == "done" && text(&shown, "id") == install, "{}: {shown}", host.mac);
            Ok(life)
        })?;
        arming += round.len();
        lives.extend(round);
    }
    let sum = |of: fn(&Life) -> u32| lives.iter().map(of).sum::<u32>();
    let erased: usize = lives.iter().map(|life| life.erased.len()).sum();
    println!(
        "replies: {arming} installs whose arming reply was lost or doubled, with {} lost and {} doubled messages in all, \
         in {:.1} s: {erased} erases, {} lost installs",
        sum(|life| life.lost),
        sum(|life| life.doubled),
        began.elapsed().as_secs_f64(),
        arming - lives.len(),
    );
    assert_eq!(erased, arming);
    assert_eq!(counted(&api.events("")?, "armed"), arming);
    Ok(())
}
