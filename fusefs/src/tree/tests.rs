//! The tree against a model that is too simple to be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::SystemTime;

use proptest::prelude::*;
use vaultfs_core::{FileHash, SecretName, Value, Version};

use super::{
    Attributes, Change, Content, Fh, File, Ino, Kind, Opened, ReadKind, Staged, Tree, TreeError,
    Want,
};
use crate::access::{Gate, Reader};

const PLACES: [&str; 4] = ["a", "d/b", "d/c", "e/f/g"];
const UIDS: [u32; 3] = [0, 1, 2];

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

fn shared() -> Tree {
    Tree::new(Gate::Shared(Reader { uid: 0, gid: 0 }), b"test")
}

fn file(place: &str, version: u64, content: Content, readers: &[u32]) -> File {
    let size_bytes = match &content {
        Content::Loaded(value) => value.len() as u64,
        Content::Unloaded | Content::Broken => bytes(version).len() as u64,
    };
    File {
        secret: name(place),
        version: Version {
            hash: FileHash::of(&version.to_le_bytes()),
            size_bytes,
            rotated_at: None,
        },
        readers: readers.iter().map(|&uid| Reader { uid, gid: uid }).collect(),
        content,
        modified: SystemTime::UNIX_EPOCH,
    }
}

/// The value of a version.
fn bytes(version: u64) -> Vec<u8> {
    version.to_string().into_bytes().repeat(usize::try_from(version % 7).unwrap())
}

fn loaded(version: u64) -> Content {
    Content::Loaded(Arc::new(Value::copy_of(&bytes(version)).unwrap()))
}

fn publish(tree: &Tree, place: &str, version: u64, readers: &[u32]) -> Staged {
    let file = file(place, version, loaded(version), readers);
    let staged = tree.stage(&name(place), file, ".temporary".to_owned()).unwrap();
    tree.commit(&staged);
    staged
}

/// Walks to a place as the kernel does, without counting the directories on the way.
fn walk(tree: &Tree, uid: u32, place: &str) -> Result<Attributes, TreeError> {
    let mut found = tree.attributes(Ino::ROOT)?;
    for (i, segment) in place.split('/').enumerate() {
        let parent = found.ino;
        let child = tree.lookup(uid, parent, OsStr::new(segment));
        if i > 0 {
            tree.forget(parent, 1);
        }
        found = child?;
    }
    Ok(found)
}

fn read_all(tree: &Tree, fh: Fh) -> Vec<u8> {
    tree.read(fh, 0, u32::MAX, ReadKind::Direct).unwrap().expose_bytes().to_vec()
}

fn open(tree: &Tree, uid: u32, ino: Ino) -> Result<Fh, TreeError> {
    tree.open(uid, ino, Want::Read).map(|opened| match opened {
        Opened::Handle(fh) => fh,
        Opened::Unloaded(_) => panic!("nothing here is unloaded"),
    })
}

#[test]
fn only_the_rename_under_way_is_accepted() {
    let tree = shared();
    publish(&tree, "a", 1, &[1]);
    let staged = tree.stage(&name("a"), file("a", 2, loaded(2), &[1]), ".t".to_owned()).unwrap();
    let Change::Replace { new, .. } = staged.change else { panic!() };
    assert_eq!(walk(&tree, 1, ".t").unwrap().ino, new);
    let (root, d) = (Ino::ROOT, Ino(99));
    for (from, to) in [((root, "a"), (root, ".t")), ((root, ".t"), (root, "b"))] {
        assert_eq!(tree.rename(from, to), Err(TreeError::ReadOnly));
    }
    assert_eq!(tree.rename((root, ".t"), (d, "a")), Err(TreeError::ReadOnly));
    assert_eq!(tree.remove(root, "a"), Err(TreeError::ReadOnly));
    assert_eq!(walk(&tree, 1, "a").unwrap().nlink, 0, "the name leads to what will go");
    tree.rename((root, ".t"), (root, "a")).unwrap();
    assert_eq!(walk(&tree, 1, "a").unwrap().ino, new);
    assert_eq!(walk(&tree, 1, ".t"), Err(TreeError::NotFound));
    assert_eq!(tree.rename((root, ".t"), (root, "a")), Err(TreeError::ReadOnly));
    tree.commit(&staged);
    assert_eq!(walk(&tree, 1, "a").unwrap().ino, new);
}

#[test]
fn a_version_that_comes_back_gets_its_number_once_nobody_knows_the_old_one() {
    let tree = shared();
    publish(&tree, "a", 1, &[1]);
    let first = walk(&tree, 1, "a").unwrap().ino;
    publish(&tree, "a", 2, &[1]);
    publish(&tree, "a", 1, &[1]);
    let again = walk(&tree, 1, "a").unwrap().ino;
    assert_ne!(first, again, "a number isn't used for two inodes at once");
    tree.forget(first, 1);
    tree.forget(again, 1);
    publish(&tree, "a", 2, &[1]);
    publish(&tree, "a", 1, &[1]);
    assert_eq!(walk(&tree, 1, "a").unwrap().ino, first);
}

#[test]
fn the_size_of_a_retired_inode_is_that_of_what_its_open_handles_read() {
    let tree = shared();
    publish(&tree, "a", 3, &[1]);
    let old = walk(&tree, 1, "a").unwrap().ino;
    let own = open(&tree, 1, old).unwrap();
    publish(&tree, "a", 20, &[1]);
    tree.retire(old);
    assert_eq!(tree.attributes(old).unwrap().size_bytes, bytes(3).len() as u64);
    let later = open(&tree, 1, old).unwrap();
    assert_eq!(read_all(&tree, own), bytes(3));
    assert_eq!(read_all(&tree, later), bytes(20));
    tree.release(own);
    assert_eq!(tree.attributes(old).unwrap().size_bytes, bytes(20).len() as u64);
}

#[test]
fn a_private_tree_shows_others_nothing() {
    let tree = Tree::new(Gate::Private(Reader { uid: 1, gid: 1 }), b"test");
    publish(&tree, "a", 1, &[1]);
    let ino = walk(&tree, 1, "a").unwrap().ino;
    for uid in [0, 2] {
        assert_eq!(walk(&tree, uid, "a"), Err(TreeError::Denied));
        assert_eq!(tree.open_directory(uid, Ino::ROOT), Err(TreeError::Denied));
        assert_eq!(tree.open(uid, ino, Want::Read), Err(TreeError::Denied));
        assert_eq!(tree.access(uid, ino, &[]), Err(TreeError::Denied));
    }
}

#[test]
fn after_the_end_every_request_is_refused() {
    let tree = shared();
    publish(&tree, "a", 1, &[1]);
    let ino = walk(&tree, 1, "a").unwrap().ino;
    let fh = open(&tree, 1, ino).unwrap();
    tree.shut();
    assert_eq!(walk(&tree, 1, "a"), Err(TreeError::Shut));
    assert_eq!(tree.attributes(ino), Err(TreeError::Shut));
    assert_eq!(tree.open(1, ino, Want::Read), Err(TreeError::Shut));
    assert_eq!(tree.read(fh, 0, 1, ReadKind::Direct).err(), Some(TreeError::Shut));
    assert_eq!(tree.release(fh), None);
    tree.forget(ino, 1);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Health {
    Good,
    Broken,
}

/// Most secrets are in order.
const HEALTH: &[Health] = &[Health::Good, Health::Good, Health::Good, Health::Broken];

/// What the model does next. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Stage { place: usize, readers: BTreeSet<u32>, health: Health },
    StageRemoval { place: usize },
    Commit,
    Rename,
    Retire,
    LookUp { place: usize, uid: usize },
    Forget { inode: usize },
    Open { inode: usize, uid: usize },
    Read { handle: usize, offset: u64, size: u32 },
    Release { handle: usize },
    List { uid: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let readers = prop::collection::btree_set(prop::sample::select(&UIDS[..]), 1..=2);
    let (place, uid) = (0..PLACES.len(), 0..UIDS.len());
    prop_oneof![
        3 => (place.clone(), readers, prop::sample::select(HEALTH))
            .prop_map(|(place, readers, health)| Step::Stage { place, readers, health }),
        1 => place.clone().prop_map(|place| Step::StageRemoval { place }),
        3 => Just(Step::Commit),
        1 => Just(Step::Rename),
        2 => Just(Step::Retire),
        4 => (place, uid.clone()).prop_map(|(place, uid)| Step::LookUp { place, uid }),
        2 => any::<usize>().prop_map(|inode| Step::Forget { inode }),
        4 => (any::<usize>(), uid.clone()).prop_map(|(inode, uid)| Step::Open { inode, uid }),
        3 => (any::<usize>(), 0..40_u64, 0..40_u32)
            .prop_map(|(handle, offset, size)| Step::Read { handle, offset, size }),
        2 => any::<usize>().prop_map(|handle| Step::Release { handle }),
        1 => uid.prop_map(|uid| Step::List { uid }),
    ]
}

/// One version at one place.
#[derive(Clone, Debug, PartialEq)]
struct Published {
    place: usize,
    version: u64,
    readers: BTreeSet<u32>,
    health: Health,
}

#[derive(Default)]
struct Model {
    current: BTreeMap<usize, Published>,
    /// Not committed yet: the place, and what it will lead to.
    staged: Option<(usize, Option<Published>)>,
    /// Superseded, and not retired yet.
    lingering: Vec<(Ino, u64)>,
    retired: BTreeSet<u64>,
    /// What the kernel knows: each lookup, until it is forgotten.
    looked_up: Vec<(Ino, Published)>,
    handles: Vec<(Fh, u64)>,
    versions: u64,
}

impl Model {
    /// What an open of `known` leads to.
    fn opened(&self, known: &Published) -> Option<&Published> {
        let current = self.current.get(&known.place);
        let own = self.looked_up.iter().map(|(_, p)| p).find(|p| *p == known);
        match own {
            Some(own) if current == Some(own) => current,
            Some(own) if own.health == Health::Good && !self.retired.contains(&own.version) => {
                Some(own)
            }
            _ => current,
        }
    }

    fn commit(&mut self, staged: &Staged) {
        let Some((place, new)) = self.staged.take() else { return };
        let old = match new {
            Some(new) => self.current.insert(place, new),
            None => self.current.remove(&place),
        };
        if let (Some(old), Some(ino)) = (old, staged.old) {
            self.lingering.push((ino, old.version));
        }
    }
}

/// The places whose directories exist, with those under way.
fn expected_names(model: &Model) -> BTreeSet<String> {
    let staged = model.staged.iter().filter(|(_, new)| new.is_some()).map(|(place, _)| *place);
    let files = model.current.keys().copied().chain(staged.filter(|&p| PLACES[p].contains('/')));
    files.map(|place| PLACES[place].split('/').next().unwrap().to_owned()).collect()
}

proptest! {
    #[test]
    fn random_interleavings_agree_with_the_model(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let tree = shared();
        let mut model = Model::default();
        let mut under_way: Option<Staged> = None;
        for step in steps {
            match step {
                Step::Stage { place, readers, health } => {
                    if let Some(staged) = under_way.take() {
                        tree.commit(&staged);
                        model.commit(&staged);
                        prune(&tree);
                    }
                    model.versions += 1;
                    let published =
                        Published { place, version: model.versions, readers, health };
                    let content = match health {
                        Health::Broken => Content::Broken,
                        Health::Good => loaded(model.versions),
                    };
                    let readers: Vec<u32> = published.readers.iter().copied().collect();
                    let file = file(PLACES[place], model.versions, content, &readers);
                    under_way = tree.stage(&name(PLACES[place]), file, ".t".to_owned());
                    prop_assert!(under_way.is_some());
                    model.staged = Some((place, Some(published)));
                }
                Step::StageRemoval { place } => {
                    if let Some(staged) = under_way.take() {
                        tree.commit(&staged);
                        model.commit(&staged);
                        prune(&tree);
                    }
                    under_way = tree.stage_removal(&name(PLACES[place]));
                    prop_assert_eq!(under_way.is_some(), model.current.contains_key(&place));
                    model.staged = under_way.as_ref().map(|_| (place, None));
                }
                Step::Commit => if let Some(staged) = under_way.take() {
                    tree.commit(&staged);
                    tree.commit(&staged);
                    model.commit(&staged);
                    prune(&tree);
                },
                Step::Rename => if let Some(staged) = under_way.take() {
                    let to = (staged.parent, &*staged.name);
                    match &staged.change {
                        Change::Replace { .. } => tree.rename((staged.parent, ".t"), to).unwrap(),
                        _ => tree.remove(to.0, to.1).unwrap(),
                    }
                    model.commit(&staged);
                    prune(&tree);
                },
                Step::Retire => if !model.lingering.is_empty() {
                    let (ino, version) = model.lingering.remove(0);
                    tree.retire(ino);
                    model.retired.insert(version);
                },
                Step::LookUp { place, uid } => {
                    let found = walk(&tree, UIDS[uid], PLACES[place]);
                    let Some(current) = model.current.get(&place) else {
                        prop_assert_eq!(found, Err(TreeError::NotFound));
                        continue;
                    };
                    let found = found.unwrap();
                    let going = model.staged.as_ref().is_some_and(|(staged, _)| *staged == place);
                    prop_assert_eq!(found.kind, Kind::File);
                    prop_assert_eq!(found.size_bytes, bytes(current.version).len() as u64);
                    prop_assert_eq!(found.nlink, u32::from(!going));
                    prop_assert_eq!(found.validity.is_zero(), going);
                    prop_assert_eq!(Some(&found.owner.uid), current.readers.first());
                    for (ino, known) in &model.looked_up {
                        prop_assert_eq!(*ino == found.ino, known == current);
                    }
                    model.looked_up.push((found.ino, current.clone()));
                }
                Step::Forget { inode } => if !model.looked_up.is_empty() {
                    let (ino, _) = model.looked_up.swap_remove(inode % model.looked_up.len());
                    tree.forget(ino, 1);
                },
                Step::Open { inode, uid } => if !model.looked_up.is_empty() {
                    let known = &model.looked_up[inode % model.looked_up.len()];
                    let opened = open(&tree, UIDS[uid], known.0);
                    match model.opened(&known.1) {
                        None => prop_assert_eq!(opened, Err(TreeError::NotFound)),
                        Some(found) if !found.readers.contains(&UIDS[uid]) => {
                            prop_assert_eq!(opened, Err(TreeError::Denied));
                        }
                        Some(found) if found.health == Health::Broken => {
                            prop_assert_eq!(opened, Err(TreeError::Broken));
                        }
                        Some(found) => model.handles.push((opened.unwrap(), found.version)),
                    }
                },
                Step::Read { handle, offset, size } => if !model.handles.is_empty() {
                    let (fh, version) = model.handles[handle % model.handles.len()];
                    let chunk = tree.read(fh, offset, size, ReadKind::Direct).unwrap();
                    let value = bytes(version);
                    let start = usize::try_from(offset).unwrap().min(value.len());
                    let end = (start + size as usize).min(value.len());
                    prop_assert_eq!(chunk.expose_bytes(), &value[start..end]);
                },
                Step::Release { handle } => if !model.handles.is_empty() {
                    let (fh, _) = model.handles.swap_remove(handle % model.handles.len());
                    prop_assert_eq!(tree.release(fh), None);
                    let read = tree.read(fh, 0, 1, ReadKind::Direct);
                    prop_assert_eq!(read.err(), Some(TreeError::BadHandle));
                },
                Step::List { uid } => {
                    let fh = tree.open_directory(UIDS[uid], Ino::ROOT).unwrap();
                    let entries = tree.entries(fh).unwrap();
                    let names: BTreeSet<_> = entries.iter().map(|e| e.name.clone()).collect();
                    prop_assert_eq!(names, expected_names(&model));
                    tree.release_directory(fh);
                }
            }
        }
        // In the end nothing is left but what is served.
        if let Some(staged) = under_way.take() {
            tree.commit(&staged);
            model.commit(&staged);
            prune(&tree);
        }
        for (fh, version) in std::mem::take(&mut model.handles) {
            prop_assert_eq!(read_all(&tree, fh), bytes(version));
            tree.release(fh);
        }
        for (ino, _) in std::mem::take(&mut model.looked_up) {
            tree.forget(ino, 1);
        }
        let directories = |&place: &usize| {
            let text = PLACES[place];
            text.match_indices('/').map(move |(at, _)| &text[..at])
        };
        let directories: BTreeSet<_> = model.current.keys().flat_map(directories).collect();
        let state = tree.state();
        prop_assert_eq!(state.nodes.len(), 1 + directories.len() + model.current.len());
        prop_assert!(state.handles.is_empty());
    }
}

/// Removes the directories that nothing needs any more.
fn prune(tree: &Tree) {
    for place in PLACES {
        while let Some(staged) = tree.stage_pruning(&name(place)) {
            tree.commit(&staged);
        }
    }
}
