//! Trees, paths and changes.

use crate::fields::{Case, enc_bounds, flag, hex, list, number, peers, score, text, utf8};
use polity_e4::Mode;
use polity_e4::hash::sha256;
use polity_e4::score::Peers;
use polity_e4::tree::{
    Computed, Leaf, Step, Tree, compat_leaf_hash, is_plausible_root, leaf_hash, leaf_path,
    node_hash, verify_compat_path, verify_path,
};
use serde_json::{Value, json};

pub(crate) fn check(case: &Case<'_>) {
    let input = case.input();
    match case.op() {
        "tree" => {
            let (tree, lattice, mut digests) = build(input);
            // Files keep the first digests of a long row.
            let kept = list(&case.value["out"]["insert_return_digests"]).len();
            assert!(kept >= digests.len().min(40));
            digests.truncate(kept);
            let mut found = describe(&tree, lattice.as_ref(), true);
            found["insert_return_digests"] = json!(digests);
            case.expect(&found);
        }
        "tree_generated" => {
            let lattice = lattice(&input["lattice"]);
            // The originators go round in the order of the list.
            let originators: Vec<String> = list(&input["lattice"])
                .iter()
                .map(|p| utf8(&p[0]))
                .collect();
            let seed = hex(&input["seed_hex"]);
            let mut tree = new_tree(input);
            for index in 0..number(&input["count"]) as u32 {
                let leaf = Leaf {
                    key: format!("k{index:06}"),
                    data: sha256([seed.as_slice(), &index.to_be_bytes()]).to_vec(),
                    originator: originators[index as usize % originators.len()].clone(),
                };
                tree.insert(leaf, None).unwrap();
            }
            case.expect(&describe(&tree, lattice.as_ref(), false));
        }
        "tree_script" => {
            let (mut tree, mut lattice, _) = build(input);
            for (index, step) in list(&case.value["steps"]).iter().enumerate() {
                match text(&step["op"]) {
                    "insert_leaf" => {
                        let digest = tree.insert(leaf(step), lattice.as_ref()).unwrap();
                        case.expect_at("digest", &step["insert_return_digest"], &json!(digest));
                    }
                    "cache_set" => tree
                        .set_trust(&utf8(&step["peer_utf8"]), score(&step["evidence"]))
                        .unwrap(),
                    "lattice_set" => {
                        let peers = lattice.as_mut().expect("no lattice to change");
                        peers.insert(utf8(&step["peer_utf8"]), score(&step["evidence"]));
                    }
                    other => panic!("nobody here knows the step `{other}`"),
                }
                let found = describe(&tree, lattice.as_ref(), true);
                case.expect_at(&format!("step {index}"), &step["out"], &found);
            }
        }
        "primitives" => {
            let (key, data) = (utf8(&input["key_utf8"]), hex(&input["data_hex"]));
            let originator = utf8(&input["originator_utf8"]);
            let trust = score(&input["evidence"]).to_text();
            let children: Vec<&str> = list(&input["children_digest"]).iter().map(text).collect();
            let trust_root = text(&input["trust_root_digest"]);
            case.expect(&json!({
                "leaf_digest": leaf_hash(&key, &data, &trust, &originator),
                "leaf_nokey_digest": leaf_hash("", &data, &trust, &originator),
                "compat_leaf_digest": compat_leaf_hash(&data),
                "node_digest": node_hash(children.iter().copied(), trust_root),
                "compat_node_digest": node_hash(children.iter().copied(), ""),
                "key_path": leaf_path(&key)}));
        }
        "verify_path" => {
            let lattice = lattice(&input["lattice"]);
            let leaf = leaf(input);
            let e4 = verify_path(
                &leaf,
                &steps(&input["steps"]),
                text(&input["root_digest"]),
                lattice.as_ref(),
                Mode::Compatible,
            );
            let compat = verify_compat_path(
                &leaf.data,
                &steps(&input["compat_steps"]),
                text(&input["compat_root_digest"]),
                Mode::Compatible,
            );
            case.expect(&json!({"e4": e4.unwrap(), "compat": compat.unwrap()}));
        }
        "find_changed_subtrees" => {
            let computed = |side: &Value| -> Computed {
                let (tree, lattice, _) = build(side);
                tree.compute(lattice.as_ref())
            };
            let changes = computed(&input["local"]).changes(&computed(&input["remote"]));
            case.expect(&json!({"refs": enc_bounds(&changes)}));
        }
        "is_plausible_root" => {
            let local = text(&input["local_root_digest"]);
            let found: Vec<Value> = list(&case.value["out"])
                .iter()
                .map(|pair| json!([pair[0], is_plausible_root(text(&pair[0]), local)]))
                .collect();
            case.expect(&json!(found));
        }
        _ => case.unknown(),
    }
}

fn lattice(value: &Value) -> Option<Peers> {
    (!value.is_null()).then(|| peers(value))
}

fn new_tree(input: &Value) -> Tree {
    let branching = number(&input["branching_factor"]) as usize;
    Tree::new(branching, flag(&input["compat"]), Mode::Compatible).unwrap()
}

fn build(input: &Value) -> (Tree, Option<Peers>, Vec<String>) {
    let lattice = lattice(&input["lattice"]);
    let mut tree = new_tree(input);
    let digests = list(&input["leaves"])
        .iter()
        .map(|value| tree.insert(leaf(value), lattice.as_ref()).unwrap())
        .collect();
    (tree, lattice, digests)
}

fn leaf(value: &Value) -> Leaf {
    Leaf {
        key: value.get("key_utf8").map(utf8).unwrap_or_default(),
        data: hex(&value["data_hex"]),
        originator: utf8(&value["originator_utf8"]),
    }
}

fn steps(value: &Value) -> Vec<Step> {
    list(value)
        .iter()
        .map(|step| Step {
            siblings: list(&step["siblings_digest"])
                .iter()
                .map(|sibling| text(sibling).to_owned())
                .collect(),
            position: step["position"].as_i64().unwrap(),
        })
        .collect()
}

fn describe(tree: &Tree, lattice: Option<&Peers>, has_levels: bool) -> Value {
    let computed = tree.compute(lattice);
    let mut found = json!({"root_digest": computed.root(),
        "compat_root_digest": computed.compat_root(), "trust_root_digest": computed.trust_root(),
        "leaf_count": tree.leaves().len()});
    if has_levels {
        let levels: Vec<Vec<[&str; 2]>> = computed
            .levels()
            .iter()
            .map(|level| {
                level
                    .iter()
                    .map(|n| [n.hash.as_str(), n.compat.as_str()])
                    .collect()
            })
            .collect();
        found["levels_leaf_to_root"] = json!(levels);
    }
    found
}
