select l.product from sale_line l where l.sale = any($1) and l.product is not null
{{#kits}}
 union
select c.product
  from sale_line l
  join product_product p on p.id = l.product
  join product_component c on c.parent_template = p.template
 where l.sale = any($1)
 union
-- other kits with those components
select k.id
  from sale_line l
  join product_product p on p.id = l.product
  join product_component c on c.parent_template = p.template
  join product_component other on other.product in (c.product, l.product)
  join product_product k on k.template = other.parent_template
 where l.sale = any($1)
{{/kits}}
