#!/usr/bin/env python3
"""Checks answers of the API against docs/openapi.yaml: openapi.py OPENAPI ROUTES ANSWERS.

ROUTES has lines METHOD PATH, which must be those of the description. ANSWERS has lines, with tabs
between the parts: METHOD PATH STATUS TYPE BODY, where PATH is that of the description. Each answer
must be described and fit its schema; each described status and each member of a schema must occur
in some answer. Prints what is wrong, and exits with 1 if there is anything.
"""

import json
import sys

wrong = []
seen = set()  # statuses and members that occurred


def parse(lines, indent=0):
    """Reads the subset of YAML that the description is written in: nested maps, lists of scalars or
    of maps, and plain or single-quoted scalars. `lines` is consumed."""
    if lines[0].lstrip().startswith('- '):
        items = []
        while lines and depth(lines[0]) == indent and lines[0].lstrip().startswith('- '):
            rest = lines[0].lstrip()[2:]
            if ': ' in rest:
                lines[0] = ' ' * (indent + 2) + rest
                items.append(parse(lines, indent + 2))
            else:
                items.append(scalar(rest))
                lines.pop(0)
        return items
    result = {}
    while lines and depth(lines[0]) == indent:
        key, _, rest = lines.pop(0).strip().partition(': ')
        if rest:
            result[scalar(key)] = scalar(rest)
        else:
            result[scalar(key.rstrip(':'))] = parse(lines, depth(lines[0]))
    return result


def depth(line):
    return len(line) - len(line.lstrip())


def scalar(text):
    return text[1:-1] if text.startswith("'") else text


def resolve(root, node):
    """The node that a $ref leads to; the node itself if it is not a $ref."""
    if '$ref' not in node:
        return node
    target = root
    for part in node['$ref'].lstrip('#/').split('/'):
        target = target[part]
    return target


TYPES = {'object': dict, 'array': list, 'string': str, 'integer': int, 'boolean': bool}


def check(root, schema, value, where):
    name = schema.get('$ref', where).rsplit('/', 1)[-1]
    schema = resolve(root, schema)
    if type(value) is not TYPES[schema['type']]:
        wrong.append(f'{where}: {value!r} is not of type {schema["type"]}')
        return
    if 'enum' in schema and value not in schema['enum']:
        wrong.append(f'{where}: {value!r} is not in the enum')
    if schema['type'] == 'array':
        for item in value:
            check(root, schema['items'], item, where + '[]')
    elif schema['type'] == 'object':
        for key in schema['required']:
            if key not in value:
                wrong.append(f'{where}: there is no {key}, which is required')
        for key, member in value.items():
            seen.add((name, key))
            if key in schema['properties']:
                check(root, schema['properties'][key], member, f'{where}.{key}')
            else:
                wrong.append(f'{where}: {key} is not described')


def check_answer(root, line):
    method, path, status, kind, body = line.rstrip('\n').split('\t')
    where = f'{method} {path} {status}'
    try:
        answer = resolve(root, root['paths'][path][method.lower()]['responses'][status])
    except KeyError:
        wrong.append(f'{where} is not described')
        return
    seen.add((method, path, status))
    if 'content' not in answer:
        if body:
            wrong.append(f'{where}: there is a body: {body}')
    elif kind not in answer['content']:
        wrong.append(f'{where}: type {kind} is not described')
    else:
        check(root, answer['content'][kind]['schema'], json.loads(body), where)


def operations(root):
    return {(method.upper(), path) for path, item in root['paths'].items() for method in item}


def check_routes(root, file):
    routes = {tuple(line.split()) for line in file}
    for method, path in sorted(routes ^ operations(root)):
        there = 'the server' if (method, path) in routes else 'the description'
        wrong.append(f'{method} {path}: only {there} has it')


def check_complete(root):
    for method, path in operations(root):
        for status in root['paths'][path][method.lower()]['responses']:
            if (method, path, status) not in seen:
                wrong.append(f'{method} {path} {status} was never answered')
    for name, schema in root['components']['schemas'].items():
        for key in schema['properties']:
            if (name, key) not in seen:
                wrong.append(f'{name}.{key} was in no answer')


def main():
    with open(sys.argv[1], encoding='utf-8') as file:
        root = parse([line.rstrip('\n') for line in file if line.strip()])
    with open(sys.argv[2], encoding='utf-8') as file:
        check_routes(root, file)
    with open(sys.argv[3], encoding='utf-8') as file:
        for line in file:
            check_answer(root, line)
    check_complete(root)
    print('\n'.join(wrong), end='\n' if wrong else '')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
