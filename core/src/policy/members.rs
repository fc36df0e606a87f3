//! Groups: who is in them, also through other groups. Nothing here recurses, because a hostile
//! policy may nest groups as deep as its size allows.

use std::collections::{HashMap, HashSet};

/// The members of each group, by its name.
pub(crate) type Groups<'a> = HashMap<&'a str, &'a [String]>;

/// The names of all recipients in `members`, once groups are replaced by their members.
pub(crate) fn expand<'a>(members: &'a [String], groups: &Groups<'a>) -> HashSet<&'a str> {
    let mut recipients = HashSet::new();
    let mut opened = HashSet::new();
    let mut open: Vec<&str> = members.iter().map(String::as_str).collect();
    while let Some(member) = open.pop() {
        match groups.get(member) {
            Some(inner) if opened.insert(member) => open.extend(inner.iter().map(String::as_str)),
            Some(_) => {}
            None => {
                recipients.insert(member);
            }
        }
    }
    recipients
}

/// The groups that hold at least one recipient; or, where a group contains itself, the way from
/// it through those that contain it back to it.
pub(crate) fn inhabited<'a>(groups: &Groups<'a>) -> Result<HashSet<&'a str>, Vec<String>> {
    // Groups whose inner groups are all settled are settled next; what remains is in, or leads
    // to, a cycle.
    let mut containers: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut unsettled: HashMap<&str, usize> = HashMap::new();
    for (&group, members) in groups {
        let inner = members.iter().filter(|m| groups.contains_key(m.as_str()));
        unsettled.insert(group, inner.clone().count());
        for member in inner {
            containers.entry(member).or_default().push(group);
        }
    }
    let mut ready: Vec<&str> =
        unsettled.iter().filter(|(_, count)| **count == 0).map(|(&group, _)| group).collect();
    let mut inhabited = HashSet::new();
    while let Some(group) = ready.pop() {
        unsettled.remove(group);
        let holds = |m: &String| !groups.contains_key(m.as_str()) || inhabited.contains(m.as_str());
        if groups[group].iter().any(holds) {
            inhabited.insert(group);
        }
        for &container in containers.get(group).into_iter().flatten() {
            if let Some(count) = unsettled.get_mut(container) {
                *count -= 1;
                if *count == 0 {
                    ready.push(container);
                }
            }
        }
    }
    match unsettled.keys().min() {
        None => Ok(inhabited),
        Some(&group) => Err(cycle(group, groups, &unsettled)),
    }
}

/// Follows unsettled groups, each of which holds another, until one comes again.
fn cycle(start: &str, groups: &Groups<'_>, unsettled: &HashMap<&str, usize>) -> Vec<String> {
    let mut path: Vec<&str> = vec![start];
    loop {
        let last = path[path.len() - 1];
        let next = groups[last].iter().find(|m| unsettled.contains_key(m.as_str()));
        let Some(next) = next.map(String::as_str) else { break };
        let seen = path.iter().position(|&group| group == next);
        path.push(next);
        if let Some(seen) = seen {
            path.drain(..seen);
            break;
        }
    }
    path.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(members: &[&str]) -> Vec<String> {
        members.iter().map(|&m| m.to_owned()).collect()
    }

    #[test]
    fn groups_expand_through_groups_and_hold_each_recipient_once() {
        let (ops, all) = (owned(&["alice", "bob"]), owned(&["ops", "bob", "carol"]));
        let groups = Groups::from([("ops", &ops[..]), ("all", &all[..])]);
        let members = owned(&["all", "ops", "alice"]);
        assert_eq!(expand(&members, &groups), HashSet::from(["alice", "bob", "carol"]));
    }

    #[test]
    fn a_cycle_is_found_and_what_only_leads_to_it_is_not_in_the_path() {
        let (a, b, c) = (owned(&["b"]), owned(&["c", "x"]), owned(&["b"]));
        let groups = Groups::from([("a", &a[..]), ("b", &b[..]), ("c", &c[..])]);
        let path = inhabited(&groups).unwrap_err();
        assert!(path == ["b", "c", "b"] || path == ["c", "b", "c"], "{path:?}");
        let own = owned(&["own"]);
        assert_eq!(inhabited(&Groups::from([("own", &own[..])])).unwrap_err(), ["own", "own"]);
    }

    #[test]
    fn empty_groups_are_not_inhabited() {
        let (none, outer, some) = (owned(&[]), owned(&["none"]), owned(&["alice"]));
        let groups = Groups::from([("none", &none[..]), ("outer", &outer[..]), ("s", &some[..])]);
        assert_eq!(inhabited(&groups).unwrap(), HashSet::from(["s"]));
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let names: Vec<String> = (0..100_000).map(|i| format!("g{i}")).collect();
        let lists: Vec<Vec<String>> = names.iter().skip(1).map(|n| vec![n.clone()]).collect();
        let groups: Groups<'_> =
            names.iter().map(String::as_str).zip(lists.iter().map(Vec::as_slice)).collect();
        assert_eq!(inhabited(&groups).unwrap().len(), groups.len());
        assert_eq!(expand(&names[..1], &groups), HashSet::from(["g99999"]));
    }
}
