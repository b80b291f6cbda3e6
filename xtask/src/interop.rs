//! Tests against ZooKeeper's own clients and server: Python and Java, in `interop/`.

use std::path::PathBuf;
use std::process::Command;

use crate::checkout::Checkout;
use crate::command::first_line;
use crate::groups::Steps;

/// The virtual environment, below the target directory, so that nothing of the user's changes.
fn environment(checkout: &Checkout) -> PathBuf {
    checkout.target.join("interop-venv")
}

/// What pip installs: the tests' list, if they have one.
fn requirements(checkout: &Checkout) -> Vec<String> {
    let list = checkout.root.join("interop").join("requirements.txt");
    if list.is_file() {
        vec!["-r".to_owned(), list.display().to_string()]
    } else {
        vec!["kazoo".to_owned()]
    }
}

/// The interpreter that has kazoo.
pub(crate) fn python(checkout: &Checkout) -> PathBuf {
    environment(checkout).join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
}

/// The version of kazoo in the virtual environment.
pub(crate) fn kazoo(checkout: &Checkout) -> Option<String> {
    let python = python(checkout).display().to_string();
    let version = first_line(&python, &["-c", "import kazoo.version as v; print(v.__version__)"])?;
    // A list that has grown since the environment was made is not satisfied by kazoo alone.
    let mut check = vec!["-m", "pip", "install", "-q", "--dry-run", "--no-index"];
    let wanted = requirements(checkout);
    check.extend(wanted.iter().map(String::as_str));
    first_line(&python, &check)?;
    Some(format!("kazoo {version} in {}", environment(checkout).display()))
}

/// The lines that make the virtual environment.
pub(crate) fn kazoo_lines(checkout: &Checkout) -> Vec<String> {
    vec![
        format!("python3 -m venv {}", environment(checkout).display()),
        format!(
            "{} -m pip install {}",
            python(checkout).display(),
            requirements(checkout).join(" ")
        ),
    ]
}

/// Makes the virtual environment, each command by `attempt`; returns whether all succeeded.
pub(crate) fn install_kazoo(checkout: &Checkout, attempt: fn(&mut Command) -> bool) -> bool {
    let made = attempt(Command::new("python3").args(["-m", "venv"]).arg(environment(checkout)));
    made && attempt(
        Command::new(python(checkout))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(requirements(checkout)),
    )
}

/// Whether this checkout has these tests.
pub(crate) fn here(checkout: &Checkout) -> bool {
    checkout.root.join("interop").join("run.py").is_file()
}

/// The group.
pub(crate) fn run(steps: &mut Steps<'_>) {
    against(steps, &[]);
}

/// The same checks in their long form.
pub(crate) fn run_long(steps: &mut Steps<'_>) {
    against(steps, &["--long"]);
}

fn against(steps: &mut Steps<'_>, options: &[&str]) {
    let checkout = steps.checkout;
    if !steps.run(&mut checkout.cargo(["build", "--release", "-p", "zk-cli"])) {
        return;
    }
    let zk = checkout.target.join("release").join(if cfg!(windows) { "zk.exe" } else { "zk" });
    let mut command = Command::new(python(checkout));
    command.current_dir(&checkout.root).env("ZK_VENV", environment(checkout));
    command.arg("interop/run.py").arg("--zk").arg(zk).args(options);
    steps.run(&mut command);
}
