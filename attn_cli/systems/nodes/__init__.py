"""Nodes of a graph, labelled by graph attention."""
