//! What a shape alone can't say: check digits, ranges, and what stands around.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// Whether it stands by itself: no letter or digit touches it, nor a sign that would go on with it.
fn alone(text: &str, at: &Range<usize>) -> bool {
    let before = text[..at.start].chars().next_back();
    let mut after = text[at.end..].chars();
    let (after, then) = (after.next(), after.next());
    let joins =
        |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() && letter.is_ascii());
    let goes_on =
        matches!(after, Some('.' | '-' | ',')) && then.is_some_and(|letter| letter.is_ascii_digit());
    !joins(before)
        && !matches!(before, Some('_' | '.' | '-' | '+' | '#' | '/' | '$'))
        && !joins(after)
        && !matches!(after, Some('_'))
        && !goes_on
}

fn digits(text: &str) -> impl DoubleEndedIterator<Item = u32> {
    text.chars().filter_map(|letter| letter.to_digit(10))
}

/// Not one of the usual stand-ins.
pub(super) fn secret(text: &str, at: Range<usize>) -> bool {
    let found = &text[at];
    let tail: Vec<u8> = found.bytes().rev().take(12).collect();
    found.starts_with("-----BEGIN") || tail.iter().any(|byte| *byte != tail[0])
}

/// Not a host for examples, nor a picture for screens of two densities.
pub(super) fn email(text: &str, at: Range<usize>) -> bool {
    let host = text[at.clone()].rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let example = ["example.com", "example.org", "example.net"].contains(&host.as_str());
    let picture = ["png", "jpg", "jpeg", "gif", "svg", "webp"].iter().any(|ending| host.ends_with(ending));
    !example && !picture && !text[..at.start].ends_with('@')
}

/// ISO 13616: the rest of the number by 97 is 1, with letters as 10 to 35.
pub(super) fn iban(text: &str, at: Range<usize>) -> bool {
    if !alone(text, &at) {
        return false;
    }
    let letters: Vec<char> = text[at].chars().filter(|letter| *letter != ' ').collect();
    if !(15..=34).contains(&letters.len()) {
        return false;
    }
    let value = |rest: u32, letter: &char| match letter.to_digit(36) {
        Some(value @ 0..=9) => (rest * 10 + value) % 97,
        Some(value) => (rest * 100 + value) % 97,
        None => 0,
    };
    letters[4..].iter().chain(&letters[..4]).fold(0, value) == 1
}

/// GB 11643: weights of the first 17 digits decide the last sign.
pub(super) fn cn_id(text: &str, at: Range<usize>) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 =
        digits(&text[at.start..at.end - 1]).zip(WEIGHTS).map(|(digit, weight)| digit * weight).sum();
    let expected = b"10X98765432"[sum as usize % 11];
    alone(text, &at) && text.as_bytes()[at.end - 1].to_ascii_uppercase() == expected
}

/// ISO 7812: Luhn's check digit, and a length that cards have.
pub(super) fn credit_card(text: &str, at: Range<usize>) -> bool {
    let count = digits(&text[at.clone()]).count();
    let double = |(place, digit): (usize, u32)| {
        let digit = if place % 2 == 1 { digit * 2 } else { digit };
        digit / 10 + digit % 10
    };
    let sum: u32 = digits(&text[at.clone()]).rev().enumerate().map(double).sum();
    let varied = digits(&text[at.clone()]).any(|digit| Some(digit) != digits(&text[at.clone()]).next());
    alone(text, &at) && (13..=19).contains(&count) && sum.is_multiple_of(10) && varied
}

/// Areas, groups and serial numbers that are given out.
pub(super) fn us_ssn(text: &str, at: Range<usize>) -> bool {
    let found = &text[at.clone()];
    let (area, group, serial) = (&found[..3], &found[4..6], &found[7..]);
    alone(text, &at)
        && area != "000"
        && area != "666"
        && !area.starts_with('9')
        && group != "00"
        && serial != "0000"
}

/// An address that can be reached, and not a version: `1.2.3.4` after `v`, `version`, `==` and the
/// like stays, and so do addresses of this machine, of private nets and for documentation, which
/// name nobody. An IPv6 address needs five groups or a gap with three, so that times stay.
pub(super) fn ip(text: &str, at: Range<usize>) -> bool {
    let found = &text[at.clone()];
    if !alone(text, &at)
        || text[at.end..].starts_with(':') && found.contains(':')
        || text[..at.start].ends_with(':')
    {
        return false;
    }
    if let Ok(address) = found.parse::<Ipv4Addr>() {
        let names_nobody = address.is_private()
            || address.is_loopback()
            || address.is_unspecified()
            || address.is_broadcast()
            || address.is_documentation()
            || address.is_link_local()
            || address.is_multicast();
        return !names_nobody
            && !is_version(&text[..at.start])
            && address.octets().iter().any(|&part| part > 9);
    }
    found.parse::<Ipv6Addr>().is_ok_and(|address| {
        let groups = found.split(':').filter(|group| !group.is_empty()).count();
        let documentation = address.segments()[0] == 0x2001 && address.segments()[1] == 0xDB8;
        let local =
            matches!(address.segments()[0], 0xFE80..=0xFEBF | 0xFC00..=0xFDFF) || address.is_loopback();
        (groups >= 5 || (found.contains("::") && groups >= 3)) && !documentation && !local
    })
}

/// Whether what stands before says that a version follows.
fn is_version(before: &str) -> bool {
    let mut from = before.len().saturating_sub(24);
    while !before.is_char_boundary(from) {
        from += 1;
    }
    let near = &before[from..];
    if ["==", ">=", "<=", "~="].iter().any(|sign| near.trim_end().ends_with(sign)) {
        return true;
    }
    let before = near.trim_end_matches([' ', ':', '=', '"', '\'', '(']).to_lowercase();
    let names = ["version", "ver", "release", "firmware", "build", "section", "chapter", "版本", "ver."];
    names.iter().any(|name| before.ends_with(name))
        || (before.ends_with('v') && !before.chars().rev().nth(1).is_some_and(char::is_alphabetic))
}

/// As many digits as numbers have, and not a piece of something longer.
pub(super) fn phone(text: &str, at: Range<usize>) -> bool {
    let found = &text[at.clone()];
    let before = text[..at.start].chars().next_back();
    let count = digits(found).count();
    let plus = found.starts_with('+');
    let arithmetic = plus && before.is_some_and(|letter| letter.is_alphanumeric() || letter == ')');
    let varied = digits(found).skip(2).collect::<std::collections::BTreeSet<_>>().len() > 2;
    alone(text, &at) && !arithmetic && (if plus { 9..=15 } else { 10..=11 }).contains(&count) && varied
}
