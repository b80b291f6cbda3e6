//! Where the workspace is, and where its builds go.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace that this xtask was built from.
#[derive(Clone, Debug)]
pub(crate) struct Checkout {
    /// The directory of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target directory for the host.
    pub(crate) target: PathBuf,
}

impl Checkout {
    /// Cargo tells where xtask's manifest is when it runs it; a binary that was started by hand
    /// looks upwards from the working directory.
    pub(crate) fn here() -> Self {
        let start = std::env::var_os("CARGO_MANIFEST_DIR")
            .map(PathBuf::from)
            .or_else(|| std::env::current_dir().ok())
            .unwrap_or_default();
        let root = start
            .ancestors()
            .find(|dir| dir.join("xtask/Cargo.toml").is_file())
            .map_or_else(|| start.clone(), Path::to_path_buf);
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => root.join(dir),
            None => root.join("target"),
        };
        Self { root, target }
    }

    /// Bare-metal builds have a target directory of their own: they may use another compiler.
    pub(crate) fn bare_target(&self) -> PathBuf {
        self.target.join("bare")
    }

    /// The workspace of the firmware images.
    pub(crate) fn boards(&self) -> PathBuf {
        self.root.join("zk-embedded").join("boards")
    }

    /// The workspace of the fuzz targets.
    pub(crate) fn fuzz(&self) -> PathBuf {
        self.root.join("fuzz")
    }

    /// The cargo that started xtask, in the root of the workspace.
    pub(crate) fn cargo<const N: usize>(&self, args: [&str; N]) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(&self.root).args(args);
        command
    }
}
