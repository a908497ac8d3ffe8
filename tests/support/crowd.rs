//! Many machines on one interface: their DHCP exchanges run side by side, and each then speaks from its own address.

use crate::{
    netns::Netns,
    pxe::{
        Machine, PxeClient,
        client::new_xid,
        message::{Message, kind, option},
    },
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::{HashMap, HashSet},
    io::Write,
    net::Ipv4Addr,
    process::Stdio,
    sync::Mutex,
    time::{Duration, Instant},
};

/// Packets sent before answers are looked at; more would not fit into the sockets' buffers.
const BURST: usize = 32;
/// When an unanswered question is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// A hosts' interface that has every address which one of its machines was given.
pub struct Crowd<'a> {
    ns: &'a Netns,
    interface: &'a str,
    client: PxeClient<'a>,
    card: [u8; 6],
    settled: Mutex<HashSet<Ipv4Addr>>,
}

/// What a machine was given.
#[derive(Clone, Debug)]
pub struct Leased {
    /// Its address, which the interface has now.
    pub address: Ipv4Addr,
    /// What the server told it to boot.
    pub boot_file: Option<String>,
}

enum Step {
    Discover,
    Request(Box<Message>),
    Leased(Leased),
}

impl<'a> Crowd<'a> {
    /// The machines on this interface.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn new(ns: &'a Netns, interface: &'a str) -> Result<Self> {
        let shown = ns.ip(&format!("-o link show dev {interface}"))?;
        let card =
            shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).context("no card address")?;
        let bytes: Vec<u8> = card.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
        let card = bytes.try_into().map_err(|_| anyhow::anyhow!("the card address {card:?}"))?;
        Ok(Self { ns, interface, client: PxeClient::new(ns, interface)?, card, settled: Mutex::default() })
    }

    /// DISCOVER, OFFER, REQUEST and ACK for all of them, side by side; then each has its address. In their order.
    ///
    /// # Errors
    /// When one of them has no lease after `patience`.
    pub fn lease(&self, machines: &[Machine], patience: Duration) -> Result<Vec<Leased>> {
        let until = Instant::now() + patience;
        let mut open: HashMap<u32, usize> = HashMap::new();
        let mut steps: Vec<(Step, u32, Option<Instant>)> = Vec::new();
        for (at, _) in machines.iter().enumerate() {
            let xid = new_xid();
            open.insert(xid, at);
            steps.push((Step::Discover, xid, None));
        }
        self.drain()?;
        while !open.is_empty() {
            if Instant::now() >= until {
                let late: Vec<String> =
                    open.values().filter_map(|at| machines.get(*at)).map(Machine::mac_text).collect();
                bail!("no lease within {patience:?} for {late:?}");
            }
            let mut sent = 0;
            for ((step, xid, last), machine) in steps.iter_mut().zip(machines) {
                if sent == BURST || last.is_some_and(|last| last.elapsed() < AGAIN) {
                    continue;
                }
                let message = match step {
                    Step::Discover => machine.message(kind::DISCOVER, *xid),
                    Step::Request(offer) => request(machine, offer),
                    Step::Leased(_) => continue,
                };
                self.client.broadcast(&message)?;
                *last = Some(Instant::now());
                sent += 1;
            }
            let look = Instant::now() + Duration::from_millis(if sent == 0 { 20 } else { 2 });
            while let Some(datagram) = self.client.link().receive(look)? {
                if datagram.to.port() != 68 {
                    continue;
                }
                let Ok(message) = Message::decode(&datagram.payload) else { continue };
                let Some(at) = open.get(&message.xid).copied() else { continue };
                let (Some((step, _, last)), Some(machine)) = (steps.get_mut(at), machines.get(at)) else { continue };
                if message.op != 2 || message.mac != machine.mac {
                    continue;
                }
                match (message.message_type(), &step) {
                    (kind::OFFER, Step::Discover) if !message.yiaddr.is_unspecified() => {
                        *step = Step::Request(Box::new(message));
                        *last = None;
                    }
                    (kind::ACK, Step::Request(_)) => {
                        open.remove(&message.xid);
                        *step = Step::Leased(Leased { address: message.yiaddr, boot_file: message.boot_file() });
                    }
                    (kind::NAK, Step::Request(_)) => (*step, *last) = (Step::Discover, None),
                    _ => {}
                }
            }
        }
        let leased = steps.into_iter().filter_map(|(step, ..)| match step {
            Step::Leased(leased) => Some(leased),
            Step::Discover | Step::Request(_) => None,
        });
        let leased: Vec<Leased> = leased.collect();
        self.settle(leased.iter().map(|leased| leased.address))?;
        Ok(leased)
    }

    /// The interface answers for these addresses from now on.
    ///
    /// # Errors
    /// When `ip` refuses one.
    pub fn settle(&self, addresses: impl Iterator<Item = Ipv4Addr>) -> Result<()> {
        let mut settled = self.settled.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let addresses: Vec<Ipv4Addr> = addresses.collect();
        let new: Vec<String> = addresses
            .iter()
            .filter(|address| settled.insert(**address))
            .map(|address| format!("address add {address}/32 dev {}\n", self.interface))
            .collect();
        if !new.is_empty() {
            let mut ip = std::process::Command::new("ip");
            let mut ip = ip.args(["-n", self.ns.name(), "-batch", "-"]).stdin(Stdio::piped()).spawn()?;
            ip.stdin.take().context("ip takes no input")?.write_all(new.concat().as_bytes())?;
            ensure!(ip.wait()?.success(), "ip -batch refused an address");
        }
        // The server knows them by their own cards; this tells it that the interface has them (RFC 5227 section 3).
        addresses.iter().try_for_each(|address| self.client.link().announce(self.card, *address))
    }

    fn drain(&self) -> Result<()> {
        while self.client.link().receive(Instant::now() + Duration::from_millis(1))?.is_some() {}
        Ok(())
    }
}

fn request(machine: &Machine, offer: &Message) -> Message {
    let mut message = machine.message(kind::REQUEST, offer.xid);
    message.set(option::REQUESTED_ADDRESS, &offer.yiaddr.octets());
    message.set(option::SERVER_ID, offer.get(option::SERVER_ID).unwrap_or_default());
    message
}

/// Runs `work` on every item, on so many threads that stand in the namespace; the results in the items' order.
///
/// # Errors
/// The first error of `work`; the other items are still worked on.
pub fn side_by_side<T: Sync, R: Send>(
    ns: &Netns,
    threads: usize,
    items: &[T],
    work: impl Fn(usize, &T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<R>)>> = Mutex::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(items.len()))
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    ns.join_current_thread()?;
                    loop {
                        let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let Some(item) = items.get(at) else { return Ok(()) };
                        let result = work(at, item);
                        done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((at, result));
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
