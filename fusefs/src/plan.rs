//! What should be served where, worked out from the exposures and what the source holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vaultfs_core::{Listing, SecretName, Version};

use crate::access::Reader;
use crate::options::{Exposure, Need};

/// Each place with what belongs there. No place lies below another one.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// By place.
    pub(crate) files: BTreeMap<SecretName, Planned>,
    /// Secrets that got no place, with the reason.
    pub(crate) displaced: BTreeMap<SecretName, String>,
}

/// What belongs at a place.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) secret: SecretName,
    pub(crate) version: Version,
    pub(crate) readers: Arc<[Reader]>,
}

impl Plan {
    /// The plan for `listing`. Where two secrets collide, the one that `serving` has at the place
    /// stays; otherwise the earlier exposure wins, then the earlier name.
    pub(crate) fn new(
        exposures: &[Exposure],
        listing: &Listing,
        serving: &BTreeMap<SecretName, SecretName>,
    ) -> Self {
        let mut wanted = Vec::new();
        for exposure in exposures {
            let readers: Arc<[Reader]> = exposure.readers.clone().into();
            for (name, version) in &listing.versions {
                if exposure.secrets.selects(name) {
                    let planned = Planned {
                        secret: name.clone(),
                        version: version.clone(),
                        readers: Arc::clone(&readers),
                    };
                    wanted.push((exposure.place.of(name), planned));
                }
            }
        }
        // A stable sort: what is served keeps its place against newcomers.
        wanted.sort_by_key(|(place, planned)| serving.get(place) != Some(&planned.secret));
        let mut plan = Self::default();
        for (place, planned) in wanted {
            match plan.obstacle(&place) {
                None => {
                    plan.files.insert(place, planned);
                }
                // The same secret at the same place once more: the earlier exposure holds.
                Some(other) if other == place && plan.files[&other].secret == planned.secret => {}
                Some(other) => {
                    let holder = &plan.files[&other].secret;
                    let reason = format!("its place {place} is in the way of {holder} at {other}");
                    plan.displaced.insert(planned.secret, reason);
                }
            }
        }
        plan
    }

    /// The place that keeps `place` from being used: itself, one above it, or one below it.
    pub(crate) fn obstacle(&self, place: &SecretName) -> Option<SecretName> {
        let text = place.as_str();
        let above = text.match_indices('/').filter_map(|(at, _)| text[..at].parse().ok());
        let above_or_same = above.chain([place.clone()]).find(|name| self.files.contains_key(name));
        above_or_same.or_else(|| {
            let below = |name: &&SecretName| name.conflicts_with(place);
            // '-' and '.' sort before '/', so what lies below need not follow at once.
            let after = self.files.range(place.clone()..).map(|(name, _)| name);
            after.take_while(|name| name.as_str().starts_with(text)).find(below).cloned()
        })
    }

    /// The secrets of the exposures that must be served, and that nothing was found for.
    pub(crate) fn missing(exposures: &[Exposure], listing: &Listing) -> BTreeSet<String> {
        let required = exposures.iter().filter(|exposure| exposure.need == Need::Required);
        let missing = required
            .filter(|exposure| !listing.versions.keys().any(|n| exposure.secrets.selects(n)));
        missing.map(|exposure| exposure.secrets.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Place, Selector};
    use vaultfs_core::FileHash;

    fn name(text: &str) -> SecretName {
        text.parse().unwrap()
    }

    fn listing(names: &[&str]) -> Listing {
        let version =
            |n: &str| Version { hash: FileHash::of(n.as_bytes()), size_bytes: 1, rotated_at: None };
        Listing { versions: names.iter().map(|n| (name(n), version(n))).collect() }
    }

    fn all(place: Place) -> Exposure {
        Exposure {
            secrets: Selector::Matching { pattern: "**".to_owned(), matches: Box::new(|_| true) },
            readers: vec![Reader { uid: 7, gid: 7 }],
            place,
            need: Need::Optional,
        }
    }

    #[test]
    fn an_earlier_exposure_wins_its_place() {
        let one = Exposure { secrets: Selector::Name(name("b")), ..all(Place::At(name("a"))) };
        let exposures = [one, all(Place::SameAsName)];
        let plan = Plan::new(&exposures, &listing(&["a", "b"]), &BTreeMap::new());
        assert_eq!(plan.files[&name("a")].secret, name("b"));
        assert_eq!(plan.files[&name("b")].secret, name("b"));
        assert_eq!(plan.displaced.keys().collect::<Vec<_>>(), [&name("a")]);
    }

    #[test]
    fn what_is_served_stays_and_the_newcomer_is_displaced() {
        let exposures = [all(Place::Mapped(Box::new(|_| name("same"))))];
        let serving = BTreeMap::from([(name("same"), name("z"))]);
        let plan = Plan::new(&exposures, &listing(&["a", "z"]), &serving);
        assert_eq!(plan.files[&name("same")].secret, name("z"));
        assert!(plan.displaced[&name("a")].contains("same"));
    }

    #[test]
    fn no_place_lies_below_another() {
        for serving in ["x", "x/y"] {
            let exposures = [all(Place::SameAsName)];
            let serving = BTreeMap::from([(name(serving), name(serving))]);
            let plan = Plan::new(&exposures, &listing(&["x", "x-", "x.z", "x/y"]), &serving);
            assert!(plan.files.contains_key(serving.keys().next().unwrap()));
            assert_eq!((plan.files.len(), plan.displaced.len()), (3, 1));
        }
    }

    #[test]
    fn required_exposures_without_a_secret_are_named() {
        let exposure = Exposure {
            secrets: Selector::Name(name("gone")),
            need: Need::Required,
            ..all(Place::SameAsName)
        };
        assert_eq!(
            Plan::missing(&[exposure], &listing(&["a"])),
            BTreeSet::from(["gone".to_owned()])
        );
    }
}
