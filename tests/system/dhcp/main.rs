//! DHCP, black box: rules of the RFCs, each a case filed under its section and tried over a cable between two
//! namespaces, on the box and on dnsmasq alike, so that the cases themselves are proven.
//!
//! One server runs for each configuration and all of its cases ask it side by side, as machines of their own.
//! `RACKBERRY_SUBJECT=ours` or `dnsmasq` leaves the other out; a word on the command line runs the cases that have it
//! in section or rule. Needs root.
//!
//! | module | about |
//! |---|---|
//! | [`bench`] | a server with its cable, and a machine that asks over it |
//! | [`cases`] | the list of cases and who passes them |
//! | `rfc…`, `bootp`, `pxe21`, `uefi_http`, `modes` | the cases |
//! | [`hazards`] | other servers, conflicts, floods and broken packets, with their own figures |
//! | [`clients`] | programs that people use |

#![allow(clippy::indexing_slicing, reason = "cases take packets apart; one that is too short fails its case")]

mod bench;
mod bootp;
mod cases;
mod clients;
mod hazards;
mod modes;
#[path = "../../fuzz/mutate.rs"]
mod mutate;
mod pxe21;
mod rfc2131_3;
mod rfc2131_4_1;
mod rfc2131_4_3;
mod rfc2132;
mod rfc3046;
mod rfc4578;
mod uefi_http;

use cases::Cases;

fn main() -> std::process::ExitCode {
    let mut cases = Cases::default();
    rfc2131_3::add(&mut cases);
    rfc2131_4_1::add(&mut cases);
    rfc2131_4_3::add(&mut cases);
    rfc2132::add(&mut cases);
    rfc3046::add(&mut cases);
    rfc4578::add(&mut cases);
    bootp::add(&mut cases);
    pxe21::add(&mut cases);
    uefi_http::add(&mut cases);
    modes::add(&mut cases);
    clients::add(&mut cases);
    hazards::add(&mut cases);
    cases.run()
}
