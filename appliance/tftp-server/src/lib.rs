//! A read-only TFTP server that boot firmware gets along with.
//!
//! RFC 1350 with the option extensions of RFC 2347, 2348 (blksize), 2349 (tsize, timeout) and 7440 (windowsize).
//!
//! - [`packet`]: the wire format; [`options`]: negotiation; [`transfer`]: one transfer as a state machine without socket, file
//!   or clock; [`path`]: the spelling of requested names. All pure.
//! - [`Server`]: the shell on tokio (Linux). The caller implements [`Source`], which decides who may read what, and may implement
//!   [`Observer`] to keep a record.
//!
//! ```no_run
//! use std::net::{IpAddr, SocketAddr, UdpSocket};
//! use tftp_server::{OpenError, Opened, ReadRequest, Server, Settings, Source, path};
//!
//! struct Greeting;
//!
//! impl Source for Greeting {
//!     async fn open(&self, request: &ReadRequest, _: SocketAddr, _: IpAddr) -> Result<Opened, OpenError> {
//!         match path::normalize(&request.filename).as_deref() {
//!             Ok("hello.txt") => Ok(Opened::new("hello\n")),
//!             Ok(_) => Err(OpenError::NotFound),
//!             Err(_) => Err(OpenError::AccessDenied),
//!         }
//!     }
//! }
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let socket = UdpSocket::bind("0.0.0.0:69")?;
//! let server = Server::new(vec![socket], Greeting, (), Settings::default())?;
//! server.run(std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```

mod content;
mod listener;
mod netascii;
mod observer;
pub mod options;
pub mod packet;
pub mod path;
mod reader;
mod rtt;
mod server;
mod session;
mod socket;
pub mod transfer;

pub use content::{Content, OpenError, Opened, ReadAt, Source};
pub use observer::{Observer, Refusal, TransferInfo};
pub use options::{Limits, RollOver};
pub use packet::{ErrorCode, Mode, Packet, ReadRequest};
pub use server::{Server, ServerError, Settings};
pub use transfer::{Outcome, Step, Transfer};
