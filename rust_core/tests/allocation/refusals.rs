//! What contradicts itself is refused, and the message names the element.

use loadstar_core::Network;

#[test]
fn networks_that_contradict_themselves_are_refused_by_name() {
    let refusal = |parent: &[i32], node: &[i32], phases: &[u8]| {
        Network::new(parent, node, phases).unwrap_err().to_string()
    };
    assert_eq!(refusal(&[-1, 3, 1, 2], &[], &[]), "node_parent[1]: node 1 is its own ancestor");
    assert_eq!(refusal(&[-1, 7], &[], &[]), "node_parent[1] is 7, must be -1 to 1");
    assert_eq!(refusal(&[-1], &[0, 1], &[7, 7]), "leaf_node[1] is 1, must be 0 to 0");
    assert_eq!(refusal(&[-1], &[0, 0], &[7, 0]), "leaf_phases[1] is 0, must be 1 to 7");
    assert_eq!(refusal(&[-1], &[0, 0], &[7]), "leaf_phases has 1 elements, expected 2");
    let chain: Vec<i32> = (-1..99).collect();
    assert_eq!(
        refusal(&chain, &[], &[]),
        "node_parent[65]: node 65 is more than 64 levels below its root"
    );
}
