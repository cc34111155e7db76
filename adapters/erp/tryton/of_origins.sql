select l.sale from origin o join sale_line l on l.id = o.id where o.model = 'sale.line'
{{#kits}}
 union
select l.sale
  from origin o
  join sale_line_component c on c.id = o.id
  join sale_line l on l.id = c.line
 where o.model = 'sale.line.component'
{{/kits}}
