//! The management controller's own address, asked from inside the host (IPMI 2.0, 23.2) by way of Linux's `/dev/ipmi0`.

use crate::machine::Machine;
use rackberry_core::host::MacAddr;
use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
    ioctl::{self, Opcode, Updater},
};
use std::{
    ffi::{c_int, c_long, c_short, c_uchar, c_uint, c_ushort},
    net::Ipv4Addr,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

/// IPMI_SYSTEM_INTERFACE_ADDR_TYPE and IPMI_BMC_CHANNEL (linux/ipmi.h).
const SYSTEM_INTERFACE: c_int = 0x0c;
const BMC_CHANNEL: c_short = 0x0f;
const TRANSPORT: u8 = 0x0c;
const GET_LAN_PARAMETERS: u8 = 0x02;
const IP_ADDRESS: u8 = 3;
const MAC_ADDRESS: u8 = 5;
/// Where makers put the port: most on 1, HPE on 2, some on 3 or 8.
const CHANNELS: [u8; 4] = [1, 2, 3, 8];
/// A controller that is starting answers nothing at all.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(5);

const SEND_COMMAND: Opcode = ioctl::opcode::read::<Request>(b'i', 13);
const RECEIVE_TRUNCATED: Opcode = ioctl::opcode::read_write::<Reception>(b'i', 11);

/// `struct ipmi_system_interface_addr`.
#[repr(C)]
struct Address {
    kind: c_int,
    channel: c_short,
    lun: c_uchar,
}

/// `struct ipmi_msg`.
#[repr(C)]
struct Message {
    function: c_uchar,
    command: c_uchar,
    length: c_ushort,
    data: *mut u8,
}

/// `struct ipmi_req`.
#[repr(C)]
struct Request {
    address: *mut Address,
    address_length: c_uint,
    id: c_long,
    message: Message,
}

/// `struct ipmi_recv`.
#[repr(C)]
struct Reception {
    kind: c_int,
    address: *mut Address,
    address_length: c_uint,
    id: c_long,
    message: Message,
}

/// Address and MAC of the first port that the controller tells about.
pub fn lan(machine: &Machine) -> (Option<Ipv4Addr>, Option<MacAddr>) {
    let Ok(device) = open(machine.path("/dev/ipmi0"), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) else {
        return (None, None);
    };
    for channel in CHANNELS {
        let parameter = |number| transact(&device, TRANSPORT, GET_LAN_PARAMETERS, &[channel, number, 0, 0]);
        // No answer at all is none for the other channels either.
        let Ok(answer) = parameter(MAC_ADDRESS) else { break };
        if let Some(mac) = mac(&answer) {
            return (parameter(IP_ADDRESS).ok().and_then(|answer| address(&answer)), Some(mac));
        }
    }
    (None, None)
}

/// Completion code 0, parameter revision, then the parameter.
fn parameter<const N: usize>(answer: &[u8]) -> Option<[u8; N]> {
    match answer {
        [0, _revision, value @ ..] => value.first_chunk().copied(),
        _ => None,
    }
}

fn mac(answer: &[u8]) -> Option<MacAddr> {
    parameter(answer).map(MacAddr).filter(MacAddr::is_station)
}

fn address(answer: &[u8]) -> Option<Ipv4Addr> {
    parameter::<4>(answer).map(Ipv4Addr::from).filter(|address| !address.is_unspecified())
}

/// Sends one command to the controller and waits for its answer, completion code first.
fn transact(device: &OwnedFd, function: u8, command: u8, data: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut to = Address { kind: SYSTEM_INTERFACE, channel: BMC_CHANNEL, lun: 0 };
    let mut data = data.to_vec();
    let address_length = c_uint::try_from(size_of::<Address>()).map_err(|_| Errno::INVAL)?;
    let length = c_ushort::try_from(data.len()).map_err(|_| Errno::INVAL)?;
    let message = Message { function, command, length, data: data.as_mut_ptr() };
    let mut request = Request { address: &raw mut to, address_length, id: 1, message };
    // SAFETY: the request and what it points to are laid out as linux/ipmi.h has them and outlive the call.
    unsafe { ioctl::ioctl(device, Updater::<SEND_COMMAND, Request>::new(&mut request)) }?;

    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut from = Address { kind: 0, channel: 0, lun: 0 };
        let mut answer = vec![0; 64];
        let message = Message { function: 0, command: 0, length: 64, data: answer.as_mut_ptr() };
        let mut reception = Reception { kind: 0, address: &raw mut from, address_length, id: 0, message };
        // SAFETY: as above; the kernel writes at most the lengths stated.
        match unsafe { ioctl::ioctl(device, Updater::<RECEIVE_TRUNCATED, Reception>::new(&mut reception)) } {
            // An answer to another command is one that came too late.
            Ok(()) | Err(Errno::MSGSIZE) if reception.message.command == command => {
                answer.truncate(usize::from(reception.message.length));
                return Ok(answer);
            }
            Ok(()) | Err(Errno::MSGSIZE) => {}
            Err(Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(POLL),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_successful_answer_holds_an_address() {
        assert_eq!(address(&[0, 0x11, 10, 0, 0, 7]), Some(Ipv4Addr::new(10, 0, 0, 7)));
        assert_eq!(address(&[0, 0x11, 0, 0, 0, 0]), None);
        assert_eq!(address(&[0xc1]), None);
        let mac_of = |last| mac(&[0, 0x11, 0x0c, 0xc4, 0x7a, 1, 2, last]);
        assert_eq!(mac_of(3), Some(MacAddr([0x0c, 0xc4, 0x7a, 1, 2, 3])));
        assert_eq!(mac(&[0, 0x11, 0x0c, 0xc4]), None);
        assert_eq!(mac(&[0xcc, 0x11, 0x0c, 0xc4, 0x7a, 1, 2, 3]), None);
    }

    #[test]
    fn structures_have_the_sizes_of_the_kernels() {
        assert_eq!((size_of::<Address>(), size_of::<Message>()), (8, 16));
        assert_eq!((size_of::<Request>(), size_of::<Reception>()), (40, 48));
    }
}
