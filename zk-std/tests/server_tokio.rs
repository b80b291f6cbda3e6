//! The server as a task of tokio's: the tests of `server.rs`, once for each kind of runtime, and
//! what only a task can get wrong.
#![cfg(unix)]
#![allow(clippy::duplicate_mod, reason = "the tests are the same")]

#[path = "server.rs"]
mod current_thread;
#[path = "server.rs"]
mod multi_thread;

use std::net::TcpStream;
use std::thread;

use current_thread::support::{Client, create_frame, get_frame};
use tokio::io::AsyncReadExt;
use tokio::runtime::{Builder, Runtime};
use zk_core::wire::Code;
use zk_std::config::{Config, HostPort};
use zk_std::server::{self, Server};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// The client that the end waits for is on the same thread.
#[test]
fn a_server_that_ends_does_not_hold_up_its_runtime() {
    const LENGTH: usize = 20_000_000;
    let mut config = server::in_memory_config();
    config.jute_max_buffer = 24_000_000;
    let server = Server::builder(config).in_memory().open().unwrap();
    let (address, handle) = (server.address(), server.handle());
    let answered = runtime().block_on(async {
        let serving = tokio::spawn(server.serve());
        let asking = tokio::task::spawn_blocking(move || {
            let mut client = Client::open(address);
            assert_eq!(client.create(1, "/long", &vec![7; LENGTH]), Code::Ok);
            client.send(&get_frame(2, "/long"));
            // The reply is begun, and longer than what the system keeps for the client.
            client.stream.peek(&mut [0; 4]).unwrap();
            client.stream
        });
        let stream = asking.await.unwrap();
        handle.shutdown();
        stream.set_nonblocking(true).unwrap();
        let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.unwrap();
        serving.await.unwrap().unwrap();
        reply
    });
    assert!(answered.len() > LENGTH);
    let length = u32::from_be_bytes(*answered.first_chunk().unwrap());
    assert_eq!(answered.len(), 4 + length as usize);
}

#[test]
fn a_server_that_is_dropped_leaves_its_port_and_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::quick_start(dir.path());
    // Where this is possible, no other test gets the port meanwhile.
    let host = if cfg!(target_os = "linux") { "127.0.0.9" } else { "127.0.0.1" };
    config.client_address = Some(HostPort { host: host.to_owned(), port: 0 });
    config.pre_alloc_size_kib = 64;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut acknowledged = 0;
    for _ in 0..10 {
        let server = Server::open(config.clone()).unwrap();
        let address = server.address();
        let serving = runtime.spawn(server.serve());
        let mut client = Client::open(address);
        for number in 0..acknowledged {
            assert_eq!(client.get(1, &format!("/n{number}")).unwrap(), b"kept");
        }
        let path = format!("/n{acknowledged}");
        assert_eq!(client.create(2, &path, b"kept"), Code::Ok);
        acknowledged += 1;
        // Some of these are with the disk when the server goes.
        for number in 0..100 {
            let path = format!("/of-{acknowledged}-{number}");
            client.send(&create_frame(3, &path, &[0; 1000]));
        }
        serving.abort();
        assert!(runtime.block_on(serving).unwrap_err().is_cancelled());
        assert!(TcpStream::connect(address).is_err(), "{address} is open");
    }
    // One that is opened and never served leaves it as well.
    drop(Server::open(config.clone()).unwrap().serve());
    drop(Server::open(config.clone()).unwrap());
    drop(runtime);
    Server::open(config).unwrap();
}

/// From a task of another runtime, from a thread, before it serves.
#[test]
fn it_is_shut_down_from_anywhere() {
    let runtime = runtime();
    let open = || Server::in_memory().unwrap();
    let server = open();
    let handle = server.handle();
    let thread = thread::spawn(move || self::runtime().block_on(async { handle.shutdown() }));
    runtime.block_on(server.serve()).unwrap();
    thread.join().unwrap();
    let server = open();
    server.handle().shutdown();
    runtime.block_on(server.serve()).unwrap();
}
