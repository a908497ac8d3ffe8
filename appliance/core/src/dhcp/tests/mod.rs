//! The DHCP module as a whole: packets in, packets out.

mod arbitrary;
mod facts;
mod modes;
mod network;
mod packets;
mod pcap;
mod pxe;
mod quirks;
mod replay;
mod table;
