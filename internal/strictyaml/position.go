package strictyaml

import (
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

func errorAt(file string, node ast.Node, msg string) *Error {
	return errorAtToken(file, startOf(node), msg)
}

// startOf returns the token where a reader sees the node begin. The parser
// gives a block mapping the position of its first colon.
func startOf(node ast.Node) *token.Token {
	if m, ok := node.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return m.Values[0].Key.GetToken()
	}
	if m, ok := node.(*ast.MappingValueNode); ok {
		return m.Key.GetToken()
	}
	return node.GetToken()
}

// find walks a path, with or without a leading "$", as far as it exists and
// returns the last node on it.
func find(node ast.Node, path string) ast.Node {
	rest := strings.TrimPrefix(path, "$")
	for rest != "" {
		var step string
		if step, rest = nextStepOf(node, rest); step == "" {
			return node
		}
		child := childAt(node, step)
		if child == nil {
			return node
		}
		node = child
	}
	return node
}

// nextStepOf is nextStep that knows the keys of a mapping, so that one with a
// dot ("p99.9") is a step of its own.
func nextStepOf(node ast.Node, path string) (step, rest string) {
	step, rest = nextStep(path)
	mapping, ok := node.(ast.MapNode)
	if !ok || path[0] == '[' {
		return step, rest
	}
	path = strings.TrimPrefix(path, ".")
	for iter := mapping.MapRange(); iter.Next(); {
		key := keyText(iter.Key())
		after, found := strings.CutPrefix(path, key)
		if found && len(key) > len(step) && (after == "" || after[0] == '.' || after[0] == '[') {
			step, rest = key, after
		}
	}
	return step, rest
}

// nextStep splits ".name" or "[3]" off a path and returns "name" or "[3".
func nextStep(path string) (step, rest string) {
	if path[0] == '[' {
		step, rest, _ = strings.Cut(path, "]")
		return step, rest
	}
	path = strings.TrimPrefix(path, ".")
	if end := strings.IndexAny(path, ".["); end >= 0 {
		return path[:end], path[end:]
	}
	return path, ""
}

func childAt(node ast.Node, step string) ast.Node {
	if index, ok := strings.CutPrefix(step, "["); ok {
		list, isList := node.(*ast.SequenceNode)
		i, err := strconv.Atoi(index)
		if !isList || err != nil || i < 0 || i >= len(list.Values) {
			return nil
		}
		return list.Values[i]
	}
	mapping, ok := node.(ast.MapNode)
	if !ok {
		return nil
	}
	for iter := mapping.MapRange(); iter.Next(); {
		if keyText(iter.Key()) == step {
			return iter.Value()
		}
	}
	return nil
}

// keyText returns a scalar key as the reader sees it, "" for any other key.
func keyText(key ast.MapKeyNode) string {
	switch k := key.(type) {
	case *ast.StringNode:
		return k.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return k.GetToken().Value
	}
	return ""
}
