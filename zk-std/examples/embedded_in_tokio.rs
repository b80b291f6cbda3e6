//! A server in memory, beside whatever else a program does on tokio; a client uses it.
//!
//! `cargo run -p zk-std --features tokio --example embedded_in_tokio`

use core::error::Error;
use core::net::SocketAddr;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zk_core::client::{Config, Event, Session, Storage, SubmitError};
use zk_core::time::Instant;
use zk_core::wire::client::{CreateRequest, GetDataReply, OPEN_ACL_UNSAFE, PathWatch};
use zk_core::wire::jute::{self, Buffer, List, Ustring};
use zk_core::wire::{Code, OpCode};
use zk_std::server::Server;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // One with a data directory reads it here, which takes as long as the tree is big.
    let server = Server::in_memory()?;
    let (address, handle) = (server.address(), server.handle());
    let serving = tokio::spawn(server.serve());

    let mut client = Client::connect(address).await?;
    let mut room = [0; 64];
    let acl = List::encode(&[OPEN_ACL_UNSAFE], &mut room).map_err(|_| "an ACL is longer")?;
    let (path, data) = (Ustring::new(b"/greeting"), Buffer(Some(b"hello")));
    client.ask(OpCode::Create, &CreateRequest { path, data, acl, flags: 0 }).await?;
    let reply = client.ask(OpCode::GetData, &PathWatch { path, watch: false }).await?;
    let greeting = jute::decode::<GetDataReply<'_>>(&reply).map_err(|_| "that is no GetData")?;
    println!("/greeting is {:?}", String::from_utf8_lossy(greeting.data.bytes()));

    // The client goes, the server ends, the program goes on.
    drop(client);
    handle.shutdown();
    serving.await??;
    println!("the server has ended");
    Ok(())
}

/// A session over one connection. (It sends no pings: this one is over before they are due.)
struct Client {
    session: Session<'static>,
    stream: TcpStream,
    /// What was read and not taken.
    input: Vec<u8>,
    begun: std::time::Instant,
}

impl Client {
    async fn connect(address: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let session = Session::new(Config::default(), Storage::owned(), Instant(0));
        let begun = std::time::Instant::now();
        let stream = TcpStream::connect(address).await?;
        let mut client = Self { session, stream, input: Vec::new(), begun };
        client.session.poll_dial(Instant(0));
        client.session.handle_connected(Instant(0));
        client.until(|event| matches!(event, Event::Connected { .. }).then_some(())).await?;
        Ok(client)
    }

    /// Asks, and waits for the reply, which is the record that belongs to `op`.
    async fn ask(
        &mut self,
        op: OpCode,
        request: &impl serde::Serialize,
    ) -> Result<Vec<u8>, Box<dyn Error>> {
        let asked =
            self.session.submit(op, request).map_err(|error: SubmitError| Box::new(error))?;
        let (code, body) = self
            .until(|event| match event {
                Event::Reply(reply) if reply.xid == asked => {
                    Some((reply.header.err, reply.body.to_vec()))
                }
                _ => None,
            })
            .await?;
        if code == Code::Ok { Ok(body) } else { Err(format!("{op:?}: {code:?}").into()) }
    }

    /// Moves bytes until an event is the one that is waited for.
    async fn until<T>(&mut self, mut find: impl FnMut(Event<'_>) -> Option<T>) -> io::Result<T> {
        let mut output = [0; 4096];
        loop {
            let now = Instant(self.begun.elapsed().as_millis() as u64);
            let len = self.session.transmit(now, &mut output);
            self.stream.write_all(&output[..len]).await?;
            let taken = self.session.receive(now, &self.input);
            let (consumed, found) = (taken.consumed, taken.event.and_then(&mut find));
            self.input.drain(..consumed);
            if let Some(found) = found {
                return Ok(found);
            }
            if len == 0 && consumed == 0 && self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
