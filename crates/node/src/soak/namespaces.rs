//! Network namespaces: each node has a network of its own, and one cable to the runner's.
//!
//! This needs root and `ip`. With it, a node that is to be isolated has its cable pulled: its sockets
//! see errors instead of silence, and its clients do not reach it either.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

/// UDP and TCP port of every node in its own network.
const PORTS: (u16, u16) = (7_100, 7_200);

/// The namespaces of a run. Dropping them removes them.
#[derive(Debug)]
pub(crate) struct Namespaces {
    names: Vec<String>,
    second: u8,
}

impl Namespaces {
    /// Makes one for each node, or says why that is not possible.
    pub(crate) fn make(count: usize) -> Result<Self, String> {
        let process = std::process::id();
        let mut made = Self {
            names: Vec::new(),
            // Runs beside each other take different networks.
            second: 64 + u8::try_from(process % 128).unwrap_or(0),
        };
        for node in 0..count {
            let name = format!("polity{process}n{node}");
            ip(&["netns", "add", &name])?;
            made.names.push(name.clone());
            let (outside, inside) = (outer_end(node), inner_end(node));
            let kind = ["type", "veth", "peer", "name", &inside, "netns", &name];
            ip(&[&["link", "add", &outside][..], &kind].concat())?;
            let runner = format!("{}/24", made.runner(node));
            let own = format!("{}/24", made.node(node));
            ip(&["addr", "add", &runner, "dev", &outside])?;
            ip(&["link", "set", &outside, "up"])?;
            ip(&["-n", &name, "addr", "add", &own, "dev", &inside])?;
            ip(&["-n", &name, "link", "set", &inside, "up"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
        }
        Ok(made)
    }

    /// Words that start a program in the namespace of a node.
    pub(crate) fn prefix(&self, node: usize) -> Vec<String> {
        let words = ["ip", "netns", "exec", &self.names[node]];
        words.map(str::to_owned).to_vec()
    }

    /// Where a node listens for members and for clients.
    pub(crate) fn addresses(&self, node: usize) -> (SocketAddr, SocketAddr) {
        let own = self.node(node);
        (SocketAddr::new(own, PORTS.0), SocketAddr::new(own, PORTS.1))
    }

    /// The runner, as a node sees it.
    pub(crate) fn runner(&self, node: usize) -> IpAddr {
        self.address(node, 1)
    }

    /// Pulls the cable of a node, or plugs it in again, at the node's end: without its own end the
    /// runner would look for the node in other networks.
    pub(crate) fn set_cable(&self, node: usize, is_plugged: bool) -> Result<(), String> {
        let state = if is_plugged { "up" } else { "down" };
        let name = &self.names[node];
        ip(&["-n", name, "link", "set", &inner_end(node), state])
    }

    fn node(&self, node: usize) -> IpAddr {
        self.address(node, 2)
    }

    fn address(&self, node: usize, last: u8) -> IpAddr {
        let third = u8::try_from(node).unwrap_or(u8::MAX);
        IpAddr::V4(Ipv4Addr::new(10, self.second, third, last))
    }
}

/// The runner's end of a node's cable.
fn outer_end(node: usize) -> String {
    format!("po{}n{node}", std::process::id())
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for (node, name) in self.names.iter().enumerate() {
            // Whatever stays behind is empty. The cable goes with its namespace, but later.
            let _ = ip(&["link", "del", &outer_end(node)]);
            let _ = ip(&["netns", "del", name]);
        }
    }
}

/// The node's end of its cable.
fn inner_end(node: usize) -> String {
    format!("pi{}n{node}", std::process::id())
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start `ip`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`ip {}`: {}", arguments.join(" "), said.trim()))
}
