//! What the host answers to guests that ask the network who they are (DHCP): each hardware address has its
//! address, for as long as it asks.

use core::net::Ipv4Addr;

use super::host::guest::phy::ChecksumCapabilities;
use super::host::guest::wire::{
    DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress,
    EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol, Ipv4Cidr, Ipv4Packet,
    Ipv4Repr, UdpPacket, UdpRepr,
};

use super::host::{ADDRESS, HARDWARE, PREFIX};

/// Seconds that an address is lent for.
const LEASE: u32 = 3600;

/// The answer to a frame that asks for an address of one of `known`.
pub(super) fn answer(frame: &[u8], known: &[([u8; 6], Ipv4Addr)]) -> Option<Vec<u8>> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
    if packet.next_header() != IpProtocol::Udp {
        return None;
    }
    let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
    if datagram.dst_port() != DHCP_SERVER_PORT {
        return None;
    }
    let asked = DhcpPacket::new_checked(datagram.payload()).ok()?;
    let asked = DhcpRepr::parse(&asked).ok()?;
    let message_type = match asked.message_type {
        DhcpMessageType::Discover => DhcpMessageType::Offer,
        DhcpMessageType::Request => DhcpMessageType::Ack,
        _ => return None,
    };
    let (_, address) = known.iter().find(|(hardware, _)| {
        asked.client_hardware_address == EthernetAddress::from_bytes(hardware)
    })?;
    let reply = DhcpRepr {
        message_type,
        your_ip: *address,
        server_ip: ADDRESS,
        router: Some(ADDRESS),
        subnet_mask: Some(Ipv4Cidr::new(ADDRESS, PREFIX).netmask()),
        server_identifier: Some(ADDRESS),
        lease_duration: Some(LEASE),
        client_identifier: None,
        requested_ip: None,
        parameter_request_list: None,
        max_size: None,
        ..asked
    };
    Some(framed(&reply))
}

/// To everybody: who asks has no address yet.
fn framed(reply: &DhcpRepr<'_>) -> Vec<u8> {
    let udp = UdpRepr { src_port: DHCP_SERVER_PORT, dst_port: DHCP_CLIENT_PORT };
    let len = reply.buffer_len();
    let ip = Ipv4Repr {
        src_addr: ADDRESS,
        dst_addr: Ipv4Addr::BROADCAST,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + len,
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress(HARDWARE),
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Ipv4,
    };
    let mut bytes = vec![0; ethernet.buffer_len() + ip.buffer_len() + ip.payload_len];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet.emit(&mut frame);
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    let sums = ChecksumCapabilities::default();
    ip.emit(&mut packet, &sums);
    let (from, to) = (IpAddress::Ipv4(ip.src_addr), IpAddress::Ipv4(ip.dst_addr));
    let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
    let write = |payload: &mut [u8]| {
        let written = reply.emit(&mut DhcpPacket::new_unchecked(payload));
        debug_assert!(written.is_ok(), "it is as long as it said");
    };
    udp.emit(&mut datagram, &from, &to, len, write, &sums);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: [u8; 6] = [2, 0, 0, 0, 0, 3];
    const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 103);

    fn says(message_type: DhcpMessageType, port: u16, guest: [u8; 6]) -> Vec<u8> {
        let repr = DhcpRepr {
            message_type,
            transaction_id: 7,
            secs: 0,
            client_hardware_address: EthernetAddress(guest),
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: false,
            requested_ip: None,
            client_identifier: None,
            server_identifier: None,
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        let mut frame = framed(&repr);
        // To a server instead.
        frame[14 + 20 + 2..][..2].copy_from_slice(&port.to_be_bytes());
        frame
    }

    #[test]
    fn who_asks_for_an_address_gets_its_own() {
        use DhcpMessageType::{Ack, Discover, Inform, Offer, Request};
        let known = [([2, 0, 0, 0, 0, 9], ADDRESS), (GUEST, OWN)];
        for (asked, answered) in [(Discover, Offer), (Request, Ack)] {
            let reply = answer(&says(asked, DHCP_SERVER_PORT, GUEST), &known).unwrap();
            let frame = EthernetFrame::new_checked(&reply[..]).unwrap();
            let packet = Ipv4Packet::new_checked(frame.payload()).unwrap();
            let datagram = UdpPacket::new_checked(packet.payload()).unwrap();
            assert_eq!((datagram.dst_port(), packet.dst_addr()), (68, Ipv4Addr::BROADCAST));
            let packet = DhcpPacket::new_checked(datagram.payload()).unwrap();
            let reply = DhcpRepr::parse(&packet).unwrap();
            assert_eq!(
                (reply.message_type, reply.your_ip, reply.transaction_id),
                (answered, OWN, 7)
            );
            assert_eq!(reply.subnet_mask, Some([255, 255, 255, 0].into()));
        }
        for silent in [
            says(Inform, DHCP_SERVER_PORT, GUEST),
            says(Discover, 69, GUEST),
            says(Discover, DHCP_SERVER_PORT, [2, 0, 0, 0, 0, 4]),
            vec![],
        ] {
            assert_eq!(answer(&silent, &known), None);
        }
    }
}
