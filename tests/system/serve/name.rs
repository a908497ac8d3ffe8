//! The box's name on its link: found soon, one interface alone, and given up once to whoever had it first.

use crate::PATIENCE;
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    time::{Duration, Instant},
};
use system_tests::{
    Appliance, Netns,
    mdns::{Neighbour, addresses},
};

const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 93, 7, 9);
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 93, 7, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 93, 7, 2);
/// Where the first box's second interface leads.
const ASIDE: Ipv4Addr = Ipv4Addr::new(10, 94, 7, 9);
const LIMIT: Duration = Duration::from_secs(60);

fn settings(more: &str) -> String {
    format!(
        "[network]\ninterface = \"lan\"\nmdns_name = \"rackberry\"\n{more}[dhcp]\nmode = \"observe\"\nprobe_unit_ms = 100\nprobe_listen_ms = 400\n"
    )
}

/// A box's namespace on the link, with an address there.
fn room(link: &Netns, number: u8, address: Ipv4Addr) -> Result<Netns> {
    let room = Netns::new()?;
    let port = format!("box{number}");
    link.veth(&port, &room, "lan")?;
    link.attach(&port, Some("link"))?;
    room.up("lan", Some(&format!("{address}/24")))?;
    room.up("lo", None)?;
    Ok(room)
}

#[test]
fn a_box_is_found_by_its_name_on_its_own_link_and_a_second_one_takes_another_name_once() -> Result<()> {
    let link = Netns::new()?;
    link.bridge("link", Some(&format!("{NEIGHBOUR}/24")))?;
    let (one, two) = (room(&link, 1, FIRST)?, room(&link, 2, SECOND)?);
    let beside = Netns::new()?;
    one.veth("aside", &beside, "aside")?;
    one.up("aside", Some("10.94.7.1/24"))?;
    beside.up("aside", Some(&format!("{ASIDE}/24")))?;
    let aside = beside.enter(|| Neighbour::join(ASIDE))?;
    let neighbour = link.enter(|| Neighbour::join(NEIGHBOUR))?;

    let began = Instant::now();
    let mut first = Appliance::start(&one, &settings(""))?;
    let ready = Instant::now();
    ensure!(neighbour.resolve("rackberry", LIMIT)? == FIRST);
    println!(
        "name: rackberry.local is found {} ms after the box was ready, {} ms after its start",
        ready.elapsed().as_millis(),
        began.elapsed().as_millis()
    );

    let mut second = Appliance::start(&two, &settings(""))?;
    ensure!(neighbour.resolve("rackberry-2", LIMIT)? == SECOND);
    ensure!(neighbour.resolve("rackberry", LIMIT)? == FIRST, "the first keeps its name");
    // Whoever renamed itself again and again would be heard with more names.
    let (mut names, until) = (BTreeSet::new(), Instant::now() + Duration::from_secs(5));
    while Instant::now() < until {
        if let Some(packet) = neighbour.hear()? {
            names.extend(addresses(&packet).into_iter().map(|(name, _, address)| (name, address)));
        }
        if names.is_empty() {
            neighbour.resolve("rackberry", LIMIT)?;
        }
    }
    let allowed = BTreeSet::from([("rackberry.local".to_owned(), FIRST), ("rackberry-2.local".to_owned(), SECOND)]);
    ensure!(names.is_subset(&allowed), "heard {names:?}");
    let renamed =
        second.log().count("somebody else on this link is called rackberry.local: this box is rackberry-2.local there");
    ensure!(
        renamed == 1 && first.log().count("somebody else on this link is called") == 0,
        "{}\n{}",
        second.log().text(),
        first.log().text()
    );
    first.log().wait_for("the page is http://rackberry.local:", PATIENCE)?;

    // It says goodbye: a name that lives for no more seconds.
    second.stop(LIMIT)?;
    let until = Instant::now() + LIMIT;
    loop {
        let gone = neighbour.hear()?.map(|packet| addresses(&packet)).unwrap_or_default();
        if gone.iter().any(|(name, life, _)| name == "rackberry-2.local" && *life == 0) {
            break;
        }
        ensure!(Instant::now() < until, "no goodbye");
    }
    first.stop(LIMIT)?;
    let heard = aside.hear()?;
    ensure!(heard.is_none(), "on the other interface was told {:?}", addresses(&heard.context("a packet")?));
    Ok(())
}

#[test]
fn a_box_that_is_not_to_tell_its_name_does_not() -> Result<()> {
    let link = Netns::new()?;
    link.bridge("link", Some(&format!("{NEIGHBOUR}/24")))?;
    let one = room(&link, 1, FIRST)?;
    let neighbour = link.enter(|| Neighbour::join(NEIGHBOUR))?;
    let _first = Appliance::start(&one, &settings("mdns = false\n"))?;
    let asked = neighbour.resolve("rackberry", Duration::from_secs(3));
    ensure!(asked.is_err(), "{asked:?}");
    Ok(())
}
