//! nginx and Varnish, if they are on the machine: each with a configuration and a directory of its own, and
//! one worker.

use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cache_benches::{Process, free_port, on_core};

use crate::CORE;
use crate::own::Server;

pub(crate) const NGINX: &str = "nginx";
pub(crate) const VARNISH: &str = "Varnish";

/// Starts those that are here, and says which are not.
pub(crate) fn start_all(
    origin: SocketAddr,
    directory: &Path,
) -> Result<Vec<Server>, Box<dyn Error>> {
    let mut servers = Vec::new();
    if is_here("nginx", "-v")? {
        servers.push(nginx(origin, directory)?);
    }
    if is_here("varnishd", "-V")? {
        servers.push(varnish(origin, directory)?);
    }
    Ok(servers)
}

fn is_here(program: &str, version: &str) -> Result<bool, Box<dyn Error>> {
    match Command::new(program)
        .arg(version)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .status()
    {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("{program} is not here, and not measured");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn nginx(origin: SocketAddr, directory: &Path) -> Result<Server, Box<dyn Error>> {
    let port = free_port()?;
    let directory = directory.join("nginx");
    fs::create_dir(&directory)?;
    let at = directory.display();
    // Root's workers are those of `nobody` otherwise, who cannot enter the directory.
    let user = match rustix::process::geteuid().is_root() {
        true => "user root;",
        false => "",
    };
    let configuration = format!(
        "daemon off; worker_processes 1; pid {at}/pid; error_log {at}/error.log; {user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    open_file_cache max=1000 inactive=1h;
    open_file_cache_valid 1h;
    client_body_temp_path {at}/body;
    proxy_temp_path {at}/proxy;
    fastcgi_temp_path {at}/fastcgi;
    uwsgi_temp_path {at}/uwsgi;
    scgi_temp_path {at}/scgi;
    proxy_cache_path {at}/cache keys_zone=store:10m inactive=1h;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://{origin};
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_cache store;
        }}
    }}
}}
"
    );
    let file = directory.join("nginx.conf");
    fs::write(&file, configuration)?;
    let mut command = on_core(CORE, "nginx");
    command.arg("-p").arg(&directory).arg("-c").arg(&file);
    command.arg("-e").arg(directory.join("error.log"));
    start(NGINX, command, port)
}

fn varnish(origin: SocketAddr, directory: &Path) -> Result<Server, Box<dyn Error>> {
    let port = free_port()?;
    let mut command = on_core(CORE, "varnishd");
    command.args(["-F", "-j", "none", "-s", "malloc,256m"]);
    command.args(["-T", "none"]);
    command.arg("-n").arg(directory.join("varnish"));
    command.args(["-a", &format!("127.0.0.1:{port}")]);
    command.args(["-b", &origin.to_string()]);
    // It says that it runs.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    start(VARNISH, command, port)
}

/// Starts a server, and waits until it can be connected to.
fn start(name: &'static str, mut command: Command, port: u16) -> Result<Server, Box<dyn Error>> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut process = Process::start(&mut command)?;
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        if let Some(status) = process.child().try_wait()? {
            return Err(format!("{name} did not start: {status}").into());
        }
        if started.elapsed() > Duration::from_secs(20) {
            return Err(format!("{name} does not answer").into());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(Server {
        name,
        process,
        address,
    })
}
