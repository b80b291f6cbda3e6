//! Who drives a server: its own thread, or tokio.

use core::net::SocketAddr;

use zk_std::server::{Error, Handle, Server};

/// A server that runs. Dropped, it is stopped.
pub(crate) struct Running {
    address: SocketAddr,
    handle: Handle,
    stop: Option<Box<dyn FnOnce() -> Result<(), Error>>>,
}

impl Running {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub(crate) fn stop(mut self) -> Result<(), Error> {
        self.stop.take().unwrap()()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let stopped = stop();
            if !std::thread::panicking() {
                stopped.unwrap();
            }
        }
    }
}

/// Starts a server. The tests are compiled for each driver, and the module that they are in says for
/// which.
pub(crate) fn start(server: Server) -> Running {
    let (address, handle) = (server.address(), server.handle());
    let module = module_path!();
    let stop: Box<dyn FnOnce() -> Result<(), Error>> = match () {
        #[cfg(all(unix, feature = "tokio"))]
        () if module.contains("::current_thread::") => on_tokio::in_a_runtime_of_its_own(server),
        #[cfg(all(unix, feature = "tokio"))]
        () if module.contains("::multi_thread::") => on_tokio::among_others(server),
        () => {
            assert!(!module.contains("tokio"), "{module} has no driver");
            let running = server.start().unwrap();
            assert_eq!(running.address(), address);
            Box::new(|| running.stop())
        }
    };
    Running { address, handle, stop: Some(stop) }
}

#[cfg(all(unix, feature = "tokio"))]
mod on_tokio {
    use std::sync::LazyLock;
    use std::thread;

    use tokio::runtime::{Builder, Runtime};
    use zk_std::server::{Error, Server};

    type Stop = Box<dyn FnOnce() -> Result<(), Error>>;

    /// All tests of a program have it, so that servers are beside others as well.
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    });

    pub(super) fn in_a_runtime_of_its_own(server: Server) -> Stop {
        let handle = server.handle();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(server.serve())
        });
        Box::new(move || {
            handle.shutdown();
            thread.join().unwrap()
        })
    }

    pub(super) fn among_others(server: Server) -> Stop {
        let handle = server.handle();
        let serving = RUNTIME.spawn(server.serve());
        Box::new(move || {
            handle.shutdown();
            RUNTIME.block_on(serving).unwrap()
        })
    }
}
