//! In which order the firmware tries its entries: a pure decision.

use rackberry_core::task::BootOrder;

/// The entry numbers in the order they should be tried, `ours` among them exactly once.
///
/// `booted` is the entry this boot came from, if the firmware says; `network` tells entries that go over the network.
#[must_use]
pub fn order(
    present: &[u16],
    booted: Option<u16>,
    ours: u16,
    wish: BootOrder,
    network: impl Fn(u16) -> bool,
) -> Vec<u16> {
    let mut order: Vec<u16> = Vec::new();
    for entry in present {
        // Some firmware repeats entries.
        if *entry != ours && !order.contains(entry) {
            order.push(*entry);
        }
    }
    let place = match (wish, booted.filter(|entry| *entry != ours)) {
        (BootOrder::DiskFirst, _) => 0,
        (BootOrder::NetworkFirst, Some(booted)) => {
            order.retain(|entry| *entry != booted);
            order.insert(0, booted);
            1
        }
        (BootOrder::NetworkFirst, None) => order.iter().rposition(|entry| network(*entry)).map_or(0, |last| last + 1),
    };
    order.insert(place, ours);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_first_puts_our_entry_behind_the_one_that_booted() {
        let order = |present: &[u16], booted| order(present, booted, 7, BootOrder::NetworkFirst, |entry| entry < 3);
        assert_eq!(order(&[5, 2, 1], Some(2)), [2, 7, 5, 1]);
        assert_eq!(order(&[2, 7, 5, 1], Some(2)), [2, 7, 5, 1]);
        assert_eq!(order(&[5], Some(9)), [9, 7, 5]);
        assert_eq!(order(&[5, 2, 1, 4], None), [5, 2, 1, 7, 4]);
        assert_eq!(order(&[5], None), [7, 5]);
        assert_eq!(order(&[7, 2], Some(7)), [2, 7]);
    }

    #[test]
    fn disk_first_puts_our_entry_first() {
        let order = |present: &[u16]| order(present, Some(2), 7, BootOrder::DiskFirst, |_| true);
        assert_eq!(order(&[2, 2, 7]), [7, 2]);
        assert_eq!(order(&[]), [7]);
    }
}
